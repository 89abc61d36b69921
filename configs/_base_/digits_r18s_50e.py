# What the methods share on Digits: 50 epochs of 20 iterations at 16 x 16
# pixels, kNN on the way.
_base_ = ['default_runtime.py', 'models/r18s.py', 'datasets/digits.py']

max_epochs = 50
warmup_epochs = 5
# A few hundred iterations are too short to grow the blocks from 0.
model = dict(backbone=dict(zero_init_residual=False))
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
