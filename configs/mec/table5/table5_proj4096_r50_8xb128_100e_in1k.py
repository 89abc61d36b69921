"""MEC on ImageNet-1k: a projector of width 4096, table 5f of the paper.

Paper: 70.7 linear (arXiv 2210.11464 table 5f).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/table5/table5_proj4096_r50_8xb128_100e_in1k.py 8
"""

_base_ = '../paper_r50_8xb128_100e_in1k.py'
width = 4096
model = dict(
    neck=dict(hid_channels=width, out_channels=width),
    head=dict(predictor=dict(in_channels=width, out_channels=width)),
)
