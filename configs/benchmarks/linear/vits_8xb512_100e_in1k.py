"""Linear probe of MoCo v3's ViT-S on ImageNet-1k; MEC does not say how it probed ViTs.

Paper: 73.4 top-1 after 300 epochs of MEC.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/linear/vits_8xb512_100e_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'r50_8xb512_100e_in1k.py'
init = dict(type='PretrainedBackbone', checkpoint=None)
vit = dict(type='MoCoV3ViT', arch='mocov3-small', img_size=224, patch_size=16)
model = dict(
    backbone=dict(_delete_=True, **vit, frozen_stages=12, norm_eval=True, init_cfg=init),
    neck=None,
    head=dict(in_channels=384),
)
