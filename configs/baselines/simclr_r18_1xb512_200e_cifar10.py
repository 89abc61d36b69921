# mmpretrain's SimCLR on CIFAR-10.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/byol_r18_cifar.py',
    '../_base_/datasets/cifar10.py', '../_base_/schedules/sgd_cifar.py'
]

model = dict(
    _delete_=True,
    type='SimCLR',
    backbone=_base_.model.backbone,
    neck=dict(_base_.model.neck, out_channels=128),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='CrossEntropyLoss'),
        temperature=0.1))
batch_size = 512
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=0.03 * batch_size / 256))
auto_scale_lr = dict(base_batch_size=batch_size)
