"""DINO+ER on ImageNet-1k at batch 4096 with centring, the other form in figure 2 of the paper.

Paper: not reported.
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_dino_centring_r50_16xb256_400e_in1k.py 16
Fewer cards: 1 with optim_wrapper.accumulative_counts=16, 4 with
    optim_wrapper.accumulative_counts=4, 8 with optim_wrapper.accumulative_counts=2; batch norm
    sees the images of an iteration.
"""

_base_ = 'er_dino_r50_16xb256_400e_in1k.py'
model = dict(center_momentum=0.9)
