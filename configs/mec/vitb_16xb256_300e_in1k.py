"""MEC with ViT-B on ImageNet-1k.

Paper: 76.5 linear (arXiv 2210.11464 table 6).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/vitb_16xb256_300e_in1k.py 16
"""

_base_ = 'vits_16xb256_300e_in1k.py'
model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768))
