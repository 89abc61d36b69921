"""MinEnt on ImageNet-100 with a softmax along the batch in place of the batch norm.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_softmax_r18_1xb128_500e_imagenet100.py
"""

_base_ = 'minent_r18_1xb128_500e_imagenet100.py'
model = dict(head=dict(loss=dict(norm='softmax')))
