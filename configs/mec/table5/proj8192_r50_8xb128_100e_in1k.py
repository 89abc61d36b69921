# (f) a projector of width 8192.
_base_ = '../paper_r50_8xb128_100e_in1k.py'

width = 8192
model = dict(
    neck=dict(hid_channels=width, out_channels=width),
    head=dict(predictor=dict(in_channels=width, out_channels=width)))
