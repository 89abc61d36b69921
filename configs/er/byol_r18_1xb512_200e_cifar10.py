# BYOL+ER on CIFAR-10.
_base_ = '../baselines/byol_r18_1xb512_200e_cifar10.py'

model = dict(
    type='ER',
    head=dict(
        _delete_=True,
        type='ERHead',
        predictor=_base_.model.head.predictor,
        loss=dict(type='ERLoss', support='sphere', kappa=10.)))
