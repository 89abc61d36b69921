"""MinEnt on ImageNet-100 with columns of unit length in place of the batch norm.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_l2_r18_1xb128_500e_imagenet100.py
"""

_base_ = 'minent_r18_1xb128_500e_imagenet100.py'
model = dict(head=dict(loss=dict(norm='l2')))
