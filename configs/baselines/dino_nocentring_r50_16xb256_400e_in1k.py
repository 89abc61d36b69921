"""DINO on ImageNet-1k at batch 4096 without centring, which collapses in figure 2 of the paper.

Paper: not reported.
Ours: not run.
Run: bash tools/dist_train.sh configs/baselines/dino_nocentring_r50_16xb256_400e_in1k.py 16
"""

_base_ = 'dino_r50_16xb256_400e_in1k.py'
model = dict(center_momentum=None)
