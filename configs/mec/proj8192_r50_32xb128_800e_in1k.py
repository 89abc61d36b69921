"""MEC on ImageNet-1k for 800 epochs with a projector of width 8192.

Paper: 75.1 linear (arXiv 2210.11464 table 7).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/proj8192_r50_32xb128_800e_in1k.py 32
"""

_base_ = 'r50_32xb128_800e_in1k.py'
width = 8192
model = dict(
    neck=dict(hid_channels=width, out_channels=width),
    head=dict(predictor=dict(in_channels=width, out_channels=width)),
)
