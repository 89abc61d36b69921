"""MEC on ImageNet-1k as r50_8xb128_*, on one card: the batch is encoded in 8 parts.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/mec/onecard_r50_1xb1024_100e_in1k.py
"""

_base_ = 'r50_8xb128_100e_in1k.py'
train_dataloader = dict(batch_size=1024)
custom_hooks = [dict(type='ExactAccumulationHook', parts=8)]
