_base_ = 'byol_r18s.py'

model = dict(
    base_momentum=0.004,
    backbone=dict(
        _delete_=True,
        type='ResNet_CIFAR',
        depth=18,
        norm_cfg=_base_.norm_cfg),
    neck=dict(in_channels=512, hid_channels=2048, out_channels=256),
    head=dict(
        predictor=dict(in_channels=256, hid_channels=2048, out_channels=256)))
