# DINO+ER on Digits, without centring. The batch norm before the prototypes
# spreads the first assignments, the sharper targets keep them from settling
# on the uniform distribution.
_base_ = '../_base_/digits_r18s_50e.py'

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='ER',
    base_momentum=0.05,
    neck=dict(
        type='PrototypeNeck',
        in_channels=128,
        num_prototypes=128,
        projector=dict(
            type='NonLinearNeck',
            in_channels=128,
            hid_channels=256,
            out_channels=128,
            with_last_bn_affine=False,
            norm_cfg=norm_cfg)),
    head=dict(
        type='ERHead',
        loss=dict(
            type='ERLoss',
            support='simplex',
            temperature=0.1,
            target_temperature=0.04)))
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-4))
