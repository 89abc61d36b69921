_base_ = 'r18s.py'

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='BYOL',
    base_momentum=0.05,
    neck=dict(
        type='NonLinearNeck',
        in_channels=128,
        hid_channels=256,
        out_channels=128,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=norm_cfg),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=128,
            hid_channels=128,
            out_channels=128,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='CosineSimilarityLoss')))
