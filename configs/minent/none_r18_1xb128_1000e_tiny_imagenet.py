# Not normalised, the control of the paper.
_base_ = 'r18_1xb128_1000e_tiny_imagenet.py'

model = dict(head=dict(loss=dict(norm='none')))
