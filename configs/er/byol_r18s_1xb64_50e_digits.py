# BYOL+ER on Digits.
_base_ = '../_base_/digits_r18s_50e.py'

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='ER',
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
        type='ERHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=128,
            hid_channels=128,
            out_channels=128,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='ERLoss', support='sphere', kappa=10.)))
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
