# MEC on Digits. At batch 64 the paper's distortion would let the spectral norm
# of lambda C reach 5, so the guard is at work throughout.
_base_ = ['../_base_/digits_50e.py', '../_base_/models/mec_r18s.py']

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-4))
