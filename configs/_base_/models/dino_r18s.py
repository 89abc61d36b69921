_base_ = 'r18s.py'

# The batch norm before the prototypes spreads the first assignments.
model = dict(
    type='DINO',
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
            norm_cfg=dict(type='GlobalBN'))),
    head=dict(type='ERHead', loss=dict(type='DINOLoss')))
