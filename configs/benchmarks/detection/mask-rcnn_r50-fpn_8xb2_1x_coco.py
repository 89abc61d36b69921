# Mask R-CNN on FPN, mmpretrain:configs/byol/benchmarks/
# mask-rcnn_r50_fpn_ms-1x_coco.py: batch norm over all GPUs in the backbone,
# the neck and the heads, the box head with four convolutions.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '_base_/coco.py',
    'mmdet::_base_/schedules/schedule_1x.py'
]

custom_imports = dict(
    imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

norm_cfg = dict(type='GlobalBN')
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(
            _delete_=True, type='PretrainedBackbone', checkpoint=None)),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg)))
# Detectron2's default.
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.))
