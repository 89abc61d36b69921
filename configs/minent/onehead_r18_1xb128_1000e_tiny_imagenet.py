# One head.
_base_ = 'r18_1xb128_1000e_tiny_imagenet.py'

model = dict(head=dict(out_channels=128))
