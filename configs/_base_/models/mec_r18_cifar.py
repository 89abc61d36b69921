# arXiv 2210.11464, appendix B: the practice of SimSiam on CIFAR-10.
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MEC',
    base_momentum=0.004,
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg),
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=2048,
        out_channels=2048,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg),
    head=dict(
        type='MECHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='MECLoss', distortion=0.06, warmup=0.1)))
