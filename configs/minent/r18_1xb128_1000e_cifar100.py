# MinEnt on CIFAR-100, eight heads.
_base_ = ['../_base_/minent_r18_1000e.py', '../_base_/datasets/cifar100.py']

batch_size = 128
train_dataloader = dict(batch_size=batch_size)
auto_scale_lr = dict(base_batch_size=batch_size)
