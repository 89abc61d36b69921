"""MinEnt on CIFAR-10 with a softmax along the batch in place of the batch norm.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_softmax_r18_1xb128_1000e_cifar10.py
"""

_base_ = 'minent_r18_1xb128_1000e_cifar10.py'
model = dict(head=dict(loss=dict(norm='softmax')))
