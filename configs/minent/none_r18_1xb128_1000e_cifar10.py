# Not normalised, the control of the paper.
_base_ = 'r18_1xb128_1000e_cifar10.py'

model = dict(head=dict(loss=dict(norm='none')))
