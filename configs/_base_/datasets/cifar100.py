# CIFAR-100 with the two views of CIFAR-10.
_base_ = ['cifar10.py']

data_preprocessor = dict(
    mean=[129.304, 124.070, 112.434], std=[68.170, 65.392, 70.418])

train_dataloader = dict(
    dataset=dict(type='LocalCIFAR100', data_root='data/cifar100'))

eval_datasets = dict(
    train=dict(type='LocalCIFAR100', data_root='data/cifar100'),
    test=dict(type='LocalCIFAR100', data_root='data/cifar100'))
