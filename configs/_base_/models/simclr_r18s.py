_base_ = 'r18s.py'

model = dict(
    type='SimCLR',
    neck=dict(
        type='NonLinearNeck',
        in_channels=128,
        hid_channels=256,
        out_channels=128,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=dict(type='GlobalBN')),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.1))
