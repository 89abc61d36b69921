# DINO+ER on CIFAR-10, without centring.
_base_ = '../baselines/dino_r18_1xb512_200e_cifar10.py'

model = dict(
    center_momentum=None,
    head=dict(
        loss=dict(
            _delete_=True,
            type='ERLoss',
            support='simplex',
            temperature=0.1,
            target_temperature=0.04)))
