"""BYOL+ER on ImageNet-1k at batch 4096 on one card: 16 iterations of 256 images share a step.

ER takes its entropy of 256 images either way, so that ordinary accumulation is enough; but batch
norm takes its statistics of 256 images, too, and not of 4,096.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/er/er_byol_onecard_r50_1xb256_400e_in1k.py
"""

_base_ = 'er_byol_r50_16xb256_400e_in1k.py'
optim_wrapper = dict(accumulative_counts=16)
