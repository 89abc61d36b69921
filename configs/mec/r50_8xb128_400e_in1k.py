"""MEC on ImageNet-1k as in the authors' code, for 400 epochs; lambda warms up over the first 10.

Paper: not reported.
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/r50_8xb128_400e_in1k.py 8
"""

_base_ = 'r50_8xb128_100e_in1k.py'
max_epochs = 400
model = dict(head=dict(loss=dict(warmup=10 / max_epochs)))
train_cfg = dict(max_epochs=max_epochs)
