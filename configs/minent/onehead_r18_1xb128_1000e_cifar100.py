# One head.
_base_ = 'r18_1xb128_1000e_cifar100.py'

model = dict(head=dict(out_channels=128))
