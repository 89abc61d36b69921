"""MinEnt on Tiny-ImageNet with columns of unit length in place of the batch norm.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_l2_r18_1xb128_1000e_tiny_imagenet.py
"""

_base_ = 'minent_r18_1xb128_1000e_tiny_imagenet.py'
model = dict(head=dict(loss=dict(norm='l2')))
