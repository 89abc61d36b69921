# Eight heads on a ResNet-18, LiShuo1001/MinEnt@d17ed2f.
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MinEnt',
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MinEntHead',
        in_channels=512,
        hid_channels=1024,
        out_channels=[2048, 1024, 512, 256, 128, 64, 32, 16],
        norm_cfg=norm_cfg,
        loss=dict(type='MinEntLoss', norm='batch')))
