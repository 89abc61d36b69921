"""MEC on ImageNet-1k as in the authors' code, batch 512.

Paper: not reported.
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/r50_8xb64_100e_in1k.py 8
"""

_base_ = 'r50_8xb128_100e_in1k.py'
gpus, batch_size = 8, 64
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=0.5 * gpus * batch_size / 256))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
