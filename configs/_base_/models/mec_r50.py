# xinliu20/MEC@35045dc:mec/builder.py
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MEC',
    base_momentum=0.004,
    backbone=dict(
        type='ResNet', depth=50, norm_cfg=norm_cfg, zero_init_residual=True),
    neck=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=2048,
        out_channels=2048,
        num_layers=3,
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
        # 64 / 2048 in the code; the paper has 0.06. lambda warms up for the
        # first 10 of 100 epochs.
        loss=dict(type='MECLoss', distortion=0.03125, warmup=0.1)))
