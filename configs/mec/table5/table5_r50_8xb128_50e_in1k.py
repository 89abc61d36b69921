"""MEC on ImageNet-1k: 50 epochs, table 5a of the paper.

Paper: 67.5 linear (arXiv 2210.11464 table 5a).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/table5/table5_r50_8xb128_50e_in1k.py 8
"""

_base_ = '../paper_r50_8xb128_100e_in1k.py'
max_epochs = 50
model = dict(head=dict(loss=dict(warmup=10 / max_epochs)))
train_cfg = dict(max_epochs=max_epochs)
