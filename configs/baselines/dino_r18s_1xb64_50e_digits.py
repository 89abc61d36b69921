# DINO on Digits, the baseline of DINO+ER.
_base_ = ['../_base_/digits_50e.py', '../_base_/models/dino_r18s.py']

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
