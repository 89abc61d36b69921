norm_cfg = dict(type='GlobalBN')
model = dict(
    type='BYOL',
    base_momentum=0.004,
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg),
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=2048,
        out_channels=256,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=norm_cfg),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=2048,
            out_channels=256,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='CosineSimilarityLoss')))
