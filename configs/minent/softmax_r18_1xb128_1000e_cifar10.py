# Normalised by a softmax along the batch.
_base_ = 'r18_1xb128_1000e_cifar10.py'

model = dict(head=dict(loss=dict(norm='softmax')))
