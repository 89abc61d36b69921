"""mmpretrain's BYOL on ImageNet-1k at batch 4096 with EMA 0.8 to 1.

Paper: 70.79 linear (arXiv 2307.10907 table 2, 73.42 - 2.63).
Ours: not run.
Run: bash tools/dist_train.sh configs/baselines/byol_ema08_r50_16xb256_400e_in1k.py 16
Fewer cards: 1 with --accumulate 16 and train_dataloader.batch_size=4096, 4 with --accumulate 4
    and train_dataloader.batch_size=1024, 8 with --accumulate 2 and
    train_dataloader.batch_size=512.
"""

_base_ = 'byol_r50_16xb256_400e_in1k.py'
model = dict(base_momentum=0.2)
