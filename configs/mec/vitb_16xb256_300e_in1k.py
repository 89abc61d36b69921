# ViT-B.
_base_ = 'vits_16xb256_300e_in1k.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768))
