# Twice as long, as facebookresearch/moco@34020351:
# detection/configs/coco_R_50_C4_2x.yaml has it.
_base_ = 'mask-rcnn_r50-c4_8xb2_1x_coco.py'

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, milestones=[16, 22])
]
