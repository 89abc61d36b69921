"""MinEnt on CIFAR-100 with columns of unit length in place of the batch norm.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_l2_r18_1xb128_1000e_cifar100.py
"""

_base_ = 'minent_r18_1xb128_1000e_cifar100.py'
model = dict(head=dict(loss=dict(norm='l2')))
