# SimCLR+ER on CIFAR-10.
_base_ = '../baselines/simclr_r18_1xb512_200e_cifar10.py'

model = dict(
    type='ER',
    head=dict(
        _delete_=True,
        type='ERHead',
        loss=dict(type='ERLoss', support='sphere', kappa=10.)))
