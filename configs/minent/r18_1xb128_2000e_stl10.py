# MinEnt on STL-10, eight heads.
_base_ = ['../_base_/minent_r18_1000e.py', '../_base_/datasets/stl10.py']

batch_size = 128
train_dataloader = dict(batch_size=batch_size)
auto_scale_lr = dict(base_batch_size=batch_size)
model = dict(
    backbone=dict(type='ResNet_CIFAR_Pool'),
    head=dict(out_channels=[8192, 4096, 2048, 1024, 512, 256, 128, 64]))

max_epochs = 2000
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=500),
    dict(
        type='MultiStepLR',
        milestones=[max_epochs - 50, max_epochs - 25],
        gamma=0.2),
]
train_cfg = dict(max_epochs=max_epochs)
