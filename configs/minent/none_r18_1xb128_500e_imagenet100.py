# Not normalised, the control of the paper.
_base_ = 'r18_1xb128_500e_imagenet100.py'

model = dict(head=dict(loss=dict(norm='none')))
