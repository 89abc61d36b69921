"""MEC on ImageNet-1k for 800 epochs with a projector of width 8192.

Paper: 75.1 linear (arXiv 2210.11464 table 7).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/proj8192_r50_32xb128_800e_in1k.py 32
Fewer cards: 1 with --accumulate 32 and train_dataloader.batch_size=4096, 4 with --accumulate 8
    and train_dataloader.batch_size=1024, 8 with --accumulate 4 and
    train_dataloader.batch_size=512.
"""

_base_ = 'r50_32xb128_800e_in1k.py'
width = 8192
model = dict(
    neck=dict(hid_channels=width, out_channels=width),
    head=dict(predictor=dict(in_channels=width, out_channels=width)),
)
