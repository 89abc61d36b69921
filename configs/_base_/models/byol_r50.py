# arXiv 2006.07733
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='BYOL',
    base_momentum=0.004,
    backbone=dict(
        type='ResNet',
        depth=50,
        norm_cfg=norm_cfg,
        zero_init_residual=False),
    neck=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=4096,
        out_channels=256,
        with_bias=True,
        with_last_bn=False,
        norm_cfg=norm_cfg),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            with_bias=True,
            with_last_bn=False,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='CosineSimilarityLoss')))
