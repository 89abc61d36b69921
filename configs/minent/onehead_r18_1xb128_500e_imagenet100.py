# One head.
_base_ = 'r18_1xb128_500e_imagenet100.py'

model = dict(head=dict(out_channels=128))
