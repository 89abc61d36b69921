"""DINO+ER on ImageNet-1k at batch 4096 with EMA 0.8 to 1.

Paper: 72.47 linear (arXiv 2307.10907 table 2, 73.39 - 0.92).
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_dino_ema08_r50_16xb256_400e_in1k.py 16
Fewer cards: 1 with optim_wrapper.accumulative_counts=16, 4 with
    optim_wrapper.accumulative_counts=4, 8 with optim_wrapper.accumulative_counts=2; batch norm
    sees the images of an iteration.
"""

_base_ = 'er_dino_r50_16xb256_400e_in1k.py'
model = dict(base_momentum=0.2)
