# mmpretrain's SimCLR on Digits.
_base_ = ['../_base_/digits_50e.py', '../_base_/models/simclr_r18s.py']

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-4))
