_base_ = 'r18s.py'

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MEC',
    base_momentum=0.1,
    neck=dict(
        type='NonLinearNeck',
        in_channels=128,
        hid_channels=256,
        out_channels=256,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg),
    head=dict(
        type='MECHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=64,
            out_channels=256,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='MECLoss', warmup=0.1)))
