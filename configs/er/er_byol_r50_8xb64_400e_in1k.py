"""BYOL+ER on ImageNet-1k at batch 512, the entropy estimated from 64 rows per rank.

Paper: not reported.
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_byol_r50_8xb64_400e_in1k.py 8
"""

_base_ = 'er_byol_r50_16xb256_400e_in1k.py'
gpus, batch_size = 8, 64
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=0.3 * gpus * batch_size / 256))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
