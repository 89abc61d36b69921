# mmpretrain's Barlow Twins on Digits.
_base_ = ['../_base_/digits_50e.py', '../_base_/models/simclr_r18s.py']

model = dict(
    type='BarlowTwins',
    head=dict(
        _delete_=True,
        type='LatentCrossCorrelationHead',
        in_channels=128,
        loss=dict(type='CrossCorrelationLoss')))
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.005, momentum=0.9, weight_decay=1e-4))
