# VOC 2007 alone. MEC trains for "fewer iterations" there, and MoCo's code has
# no config: 9,000 with the steps of 24,000 are our choice.
_base_ = 'faster-rcnn_r50-c4_8xb2_24k_voc0712.py'

iterations = 9000
train_dataloader = dict(
    dataset=dict(datasets=_base_.train_dataloader.dataset.datasets[:1]))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(
        _base_.param_scheduler[1],
        end=iterations,
        milestones=[iterations * 18 // 24, iterations * 22 // 24])
]
train_cfg = dict(max_iters=iterations, val_interval=iterations // 4)
default_hooks = dict(checkpoint=dict(interval=iterations // 4))
