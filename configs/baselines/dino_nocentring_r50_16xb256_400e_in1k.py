"""DINO on ImageNet-1k at batch 4096 without centring, which collapses in figure 2 of the paper.

Paper: not reported.
Ours: not run.
Run: bash tools/dist_train.sh configs/baselines/dino_nocentring_r50_16xb256_400e_in1k.py 16
Fewer cards: 1 with --accumulate 16 and train_dataloader.batch_size=4096, 4 with --accumulate 4
    and train_dataloader.batch_size=1024, 8 with --accumulate 2 and
    train_dataloader.batch_size=512.
"""

_base_ = 'dino_r50_16xb256_400e_in1k.py'
model = dict(center_momentum=None)
