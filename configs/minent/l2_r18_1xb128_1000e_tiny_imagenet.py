# Columns of unit length.
_base_ = 'r18_1xb128_1000e_tiny_imagenet.py'

model = dict(head=dict(loss=dict(norm='l2')))
