"""MinEnt on ImageNet-100 with one head.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_onehead_r18_1xb128_500e_imagenet100.py
"""

_base_ = 'minent_r18_1xb128_500e_imagenet100.py'
model = dict(head=dict(out_channels=128))
