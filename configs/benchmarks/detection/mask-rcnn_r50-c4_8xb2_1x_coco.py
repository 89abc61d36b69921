# Mask R-CNN on C4, table 3 of MEC:
#   --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT \
#       model.roi_head.shared_head.init_cfg.checkpoint=CHECKPOINT
_base_ = [
    '_base_/mask-rcnn_r50-c4.py', '_base_/coco.py',
    'mmdet::_base_/schedules/schedule_1x.py'
]

# Detectron2's default.
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.))
