"""Mask R-CNN on FPN and COCO, 12 epochs.

mmpretrain:configs/byol/benchmarks/mask-rcnn_r50_fpn_ms-1x_coco.py: batch norm over all GPUs in
the backbone, the neck and the heads, the box head with four convolutions.

Paper: not reported by MEC.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_r50-fpn_8xb2_1x_coco.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
    'mmdet::_base_/schedules/schedule_1x.py',
]
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

# Model; the base states the rest of it
norm_cfg = dict(type='GlobalBN')
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='PretrainedBackbone', checkpoint=None),
    ),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)

# Data: COCO with a shorter side of 640 to 800 pixels in training, as in
# facebookresearch/moco@34020351:detection/configs/coco_R_50_C4_2x.yaml
train_pipeline = list(_base_.train_pipeline)
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[(1333, side) for side in range(640, 801, 32)],
    keep_ratio=True,
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Optimiser and schedule: mmdet's 1x, SGD at 0.02; batch norm without decay is Detectron2's default
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
