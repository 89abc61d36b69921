# MinEnt on CIFAR-10 as in the authors' code (LiShuo1001/MinEnt@d17ed2f):
# eight heads, Adam, two steps down near the end. The code's repository states
# no accuracy.
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/cifar10.py']

max_epochs = 1000
batch_size = 128

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MinEnt',
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MinEntHead',
        in_channels=512,
        hid_channels=1024,
        out_channels=[2048, 1024, 512, 256, 128, 64, 32, 16],
        norm_cfg=norm_cfg,
        loss=dict(type='MinEntLoss', norm='batch')))

train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-6))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=500),
    dict(
        type='MultiStepLR',
        milestones=[max_epochs - 50, max_epochs - 25],
        gamma=0.2,
        end=max_epochs),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
custom_hooks = [
    dict(
        type='KNNHook',
        train=_base_.eval_datasets['train'],
        test=_base_.eval_datasets['test'],
        k=5,
        metric='euclidean',
        interval=10)
]
