"""Mask R-CNN on FPN and COCO, 24 epochs.

Paper: not reported by MEC.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_r50-fpn_8xb2_2x_coco.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'mask-rcnn_r50-fpn_8xb2_1x_coco.py'
max_epochs = 24
train_cfg = dict(max_epochs=max_epochs)
warm_up, steps = _base_.param_scheduler
param_scheduler = [warm_up, dict(steps, end=max_epochs, milestones=[16, 22])]
