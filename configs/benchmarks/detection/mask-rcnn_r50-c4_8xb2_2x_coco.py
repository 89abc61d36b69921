"""Mask R-CNN on C4 and COCO, 24 epochs, as facebookresearch/moco@34020351 has it.

Paper: not reported by MEC (facebookresearch/moco@34020351:detection/configs/coco_R_50_C4_2x.yaml).
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_r50-c4_8xb2_2x_coco.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
        model.roi_head.shared_head.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'mask-rcnn_r50-c4_8xb2_1x_coco.py'
max_epochs = 24
train_cfg = dict(max_epochs=max_epochs)
warm_up, steps = _base_.param_scheduler
param_scheduler = [warm_up, dict(steps, end=max_epochs, milestones=[16, 22])]
