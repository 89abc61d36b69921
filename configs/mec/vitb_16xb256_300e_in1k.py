"""MEC with ViT-B on ImageNet-1k.

Paper: 76.5 linear (arXiv 2210.11464 table 6).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/vitb_16xb256_300e_in1k.py 16
Fewer cards: 1 with --accumulate 16 and train_dataloader.batch_size=4096, 4 with --accumulate 4
    and train_dataloader.batch_size=1024, 8 with --accumulate 2 and
    train_dataloader.batch_size=512.
"""

_base_ = 'vits_16xb256_300e_in1k.py'
model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768))
