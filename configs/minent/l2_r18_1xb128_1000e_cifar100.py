# Columns of unit length.
_base_ = 'r18_1xb128_1000e_cifar100.py'

model = dict(head=dict(loss=dict(norm='l2')))
