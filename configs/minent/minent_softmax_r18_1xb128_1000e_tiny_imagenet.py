"""MinEnt on Tiny-ImageNet with a softmax along the batch in place of the batch norm.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_softmax_r18_1xb128_1000e_tiny_imagenet.py
"""

_base_ = 'minent_r18_1xb128_1000e_tiny_imagenet.py'
model = dict(head=dict(loss=dict(norm='softmax')))
