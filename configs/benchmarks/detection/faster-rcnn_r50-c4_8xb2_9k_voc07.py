"""Faster R-CNN on C4 and VOC 2007 alone.

MEC trains for "fewer iterations" there, and MoCo's code has no config: 9,000 with the steps of
24,000 are our choice.

Paper: AP50 / AP / AP75 77.4 / 48.3 / 52.3 (arXiv 2210.11464 table 3).
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/faster-rcnn_r50-c4_8xb2_9k_voc07.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
        model.roi_head.shared_head.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'faster-rcnn_r50-c4_8xb2_24k_voc0712.py'
iterations = 9000
years = _base_.train_dataloader.dataset.datasets
train_dataloader = dict(dataset=dict(datasets=years[:1]))
warm_up, steps = _base_.param_scheduler
steps = dict(steps, end=iterations, milestones=[iterations * 18 // 24, iterations * 22 // 24])
param_scheduler = [warm_up, steps]
train_cfg = dict(max_iters=iterations, val_interval=iterations // 4)
default_hooks = dict(checkpoint=dict(interval=iterations // 4))
