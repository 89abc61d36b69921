# What the methods share on Digits: a narrow ResNet-18 of three stages on
# 16 x 16 pixels, 50 epochs of 20 iterations, kNN on the way.
_base_ = ['default_runtime.py', 'datasets/digits.py']

max_epochs = 50
warmup_epochs = 5
model = dict(
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        in_channels=1,
        stem_channels=32,
        base_channels=32,
        num_stages=3,
        strides=(2, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2, ),
        # A few hundred iterations are too short to grow the blocks from 0.
        zero_init_residual=False,
        norm_cfg=dict(type='GlobalBN')))
train_dataloader = dict(batch_size=64)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        end=warmup_epochs,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    dict(
        type='KNNHook',
        train=_base_.eval_datasets['train'],
        test=_base_.eval_datasets['test'],
        interval=10)
]
