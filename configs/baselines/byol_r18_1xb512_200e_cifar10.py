# mmpretrain's BYOL on CIFAR-10.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/byol_r18_cifar.py',
    '../_base_/datasets/cifar10.py', '../_base_/schedules/sgd_cifar.py'
]

batch_size = 512
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=0.03 * batch_size / 256))
auto_scale_lr = dict(base_batch_size=batch_size)
