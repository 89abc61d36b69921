# What the methods share on Fashion-MNIST: 6 epochs of 60,000 images at
# 28 x 28 pixels, kNN on the way.
_base_ = [
    'default_runtime.py', 'datasets/fashion_mnist.py',
    'schedules/cosine.py'
]

batch_size = 128
warmup_epochs = 1
train_dataloader = dict(batch_size=batch_size, num_workers=1)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        end=warmup_epochs,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_epochs,
        convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=6)
default_hooks = dict(checkpoint=dict(interval=1))
auto_scale_lr = dict(base_batch_size=batch_size)
custom_hooks = [
    dict(
        type='KNNHook',
        # 10,000 rows are enough to follow a run.
        train=dict(_base_.eval_datasets['train'], indices=10000),
        interval=1)
]
