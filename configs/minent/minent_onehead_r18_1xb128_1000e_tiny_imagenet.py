"""MinEnt on Tiny-ImageNet with one head.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_onehead_r18_1xb128_1000e_tiny_imagenet.py
"""

_base_ = 'minent_r18_1xb128_1000e_tiny_imagenet.py'
model = dict(head=dict(out_channels=128))
