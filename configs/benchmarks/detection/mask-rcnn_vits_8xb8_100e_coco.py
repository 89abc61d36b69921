"""Mask R-CNN on a plain ViT-S and COCO; ViTDet does not have it, the numbers are ViT-B's.

Paper: not reported by MEC.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_vits_8xb8_100e_coco.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'mask-rcnn_vitb_8xb8_100e_coco.py'
model = dict(backbone=dict(arch='mocov3-small'), neck=dict(in_channels=384))
