# BYOL+ER on Fashion-MNIST.
_base_ = '../baselines/byol_r18s_1xb128_6e_fashion_mnist.py'

model = dict(
    type='ER',
    head=dict(
        _delete_=True,
        type='ERHead',
        predictor=_base_.model.head.predictor,
        loss=dict(type='ERLoss', support='sphere', kappa=10.)))
