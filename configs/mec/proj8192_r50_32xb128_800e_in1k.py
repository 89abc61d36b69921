# A projector of width 8192.
_base_ = 'r50_32xb128_800e_in1k.py'

width = 8192
model = dict(
    neck=dict(hid_channels=width, out_channels=width),
    head=dict(predictor=dict(in_channels=width, out_channels=width)))
