# ViT-S of MoCo v3 with its projector and predictor, arXiv 2104.02057.
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MEC',
    base_momentum=0.01,
    backbone=dict(
        type='MoCoV3ViT',
        arch='mocov3-small',
        img_size=224,
        patch_size=16,
        stop_grad_conv1=True),
    neck=dict(
        type='NonLinearNeck',
        in_channels=384,
        hid_channels=4096,
        out_channels=256,
        num_layers=3,
        with_last_bn_affine=False,
        with_avg_pool=False,
        norm_cfg=norm_cfg),
    head=dict(
        type='MECHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            with_last_bn_affine=False,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='MECLoss', warmup=0.1)))
