# MEC as a regulariser of SimCLR. The paper does not give its weight.
_base_ = '../baselines/simclr_r18_1xb512_200e_cifar10.py'

model = dict(
    type='WithMEC',
    algorithm='SimCLR',
    mec=dict(type='MECLoss', distortion=0.06, warmup=0.1),
    weight=1.)
