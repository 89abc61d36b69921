# arXiv 2104.14294, with the 65,536 prototypes of its ViTs.
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='DINO',
    base_momentum=0.004,
    backbone=dict(
        type='ResNet',
        depth=50,
        norm_cfg=norm_cfg,
        zero_init_residual=False),
    neck=dict(
        type='PrototypeNeck',
        in_channels=256,
        num_prototypes=65536,
        projector=dict(
            type='NonLinearNeck',
            in_channels=2048,
            hid_channels=2048,
            out_channels=256,
            num_layers=3,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=norm_cfg)),
    head=dict(
        type='ERHead',
        loss=dict(
            type='DINOLoss', target_temperature=0.07, warmup=30 / 400)))
