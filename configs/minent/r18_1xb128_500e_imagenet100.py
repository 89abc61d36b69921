# MinEnt on ImageNet-100, eight heads.
_base_ = ['../_base_/minent_r18_1000e.py', '../_base_/datasets/imagenet100.py']

batch_size = 128
train_dataloader = dict(batch_size=batch_size)
auto_scale_lr = dict(base_batch_size=batch_size)
model = dict(backbone=dict(type='ResNet'))

max_epochs = 500
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=500),
    dict(
        type='MultiStepLR',
        milestones=[max_epochs - 50, max_epochs - 25],
        gamma=0.2),
]
train_cfg = dict(max_epochs=max_epochs)
