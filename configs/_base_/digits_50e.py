# What the methods share on Digits: 50 epochs of 20 iterations at 16 x 16
# pixels, kNN on the way.
_base_ = [
    'default_runtime.py', 'datasets/digits.py', 'schedules/cosine.py'
]

batch_size = 64
warmup_epochs = 5
train_dataloader = dict(batch_size=batch_size)
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
train_cfg = dict(max_epochs=50)
auto_scale_lr = dict(base_batch_size=batch_size)
custom_hooks = [dict(type='KNNHook', interval=10)]
