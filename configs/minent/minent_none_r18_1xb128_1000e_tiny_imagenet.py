"""MinEnt on Tiny-ImageNet without normalisation, the control of the paper.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_none_r18_1xb128_1000e_tiny_imagenet.py
"""

_base_ = 'minent_r18_1xb128_1000e_tiny_imagenet.py'
model = dict(head=dict(loss=dict(norm='none')))
