# One head.
_base_ = 'r18_1xb128_2000e_stl10.py'

model = dict(head=dict(out_channels=128))
