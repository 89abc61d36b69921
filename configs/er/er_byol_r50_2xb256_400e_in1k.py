"""BYOL+ER on ImageNet-1k at batch 512, the entropy estimated from 256 rows per rank.

The rows per rank are a hyper-parameter that the paper does not state. Its figure 2 suggests 256.

Paper: 69.59 linear (arXiv 2307.10907 table 2, 71.94 - 2.35; rows per rank not stated).
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_byol_r50_2xb256_400e_in1k.py 2
"""

_base_ = 'er_byol_r50_16xb256_400e_in1k.py'
gpus, batch_size = 2, 256
optim_wrapper = dict(optimizer=dict(lr=0.3 * gpus * batch_size / 256))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
