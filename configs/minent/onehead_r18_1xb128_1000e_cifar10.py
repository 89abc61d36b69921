# One head.
_base_ = 'r18_1xb128_1000e_cifar10.py'

model = dict(head=dict(out_channels=128))
