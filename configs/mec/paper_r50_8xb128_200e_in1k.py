"""MEC on ImageNet-1k as in the paper, for 200 epochs; lambda warms up over the first 10.

Paper: 71.9 linear (arXiv 2210.11464 table 1).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/paper_r50_8xb128_200e_in1k.py 8
"""

_base_ = 'paper_r50_8xb128_100e_in1k.py'
max_epochs = 200
model = dict(head=dict(loss=dict(warmup=10 / max_epochs)))
train_cfg = dict(max_epochs=max_epochs)
