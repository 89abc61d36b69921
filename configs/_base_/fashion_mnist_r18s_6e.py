# What the methods share on Fashion-MNIST: 6 epochs of 60,000 images at 28 x 28
# pixels, kNN on the way.
_base_ = [
    'default_runtime.py', 'models/r18s.py', 'datasets/fashion_mnist.py'
]

max_epochs = 6
warmup_epochs = 1
train_dataloader = dict(batch_size=128, num_workers=1)
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
default_hooks = dict(checkpoint=dict(interval=1))
auto_scale_lr = dict(base_batch_size=128)
custom_hooks = [
    dict(
        type='KNNHook',
        # 10,000 rows are enough to follow a run.
        train=dict(_base_.eval_datasets['train'], indices=10000),
        test=_base_.eval_datasets['test'],
        interval=1)
]
