# MEC on CIFAR-10, arXiv 2210.11464, appendix B.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/mec_r18_cifar.py',
    '../_base_/datasets/cifar10.py', '../_base_/schedules/sgd_cifar.py'
]

batch_size = 1024
max_epochs = 600
train_dataloader = dict(batch_size=batch_size, num_workers=8)
optim_wrapper = dict(optimizer=dict(lr=0.03 * batch_size / 256))
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
