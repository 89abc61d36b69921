# MinEnt on Tiny-ImageNet, eight heads.
_base_ = ['../_base_/minent_r18_1000e.py', '../_base_/datasets/tiny_imagenet.py']

batch_size = 128
train_dataloader = dict(batch_size=batch_size)
auto_scale_lr = dict(base_batch_size=batch_size)
model = dict(
    backbone=dict(type='ResNet_CIFAR_Pool'),
    head=dict(out_channels=[8192, 4096, 2048, 1024, 512, 256, 128, 64]))
