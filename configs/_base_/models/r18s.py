# A narrow ResNet-18 of three stages for one channel: 128 features. A few
# hundred iterations are too short to grow its blocks from 0.
model = dict(
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        in_channels=1,
        stem_channels=32,
        base_channels=32,
        num_stages=3,
        strides=(2, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2, ),
        zero_init_residual=False,
        norm_cfg=dict(type='GlobalBN')))
