"""SimCLR+ER on ImageNet-1k at batch 4096.

Paper: 70.86 linear (arXiv 2307.10907 table 2).
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_simclr_r50_16xb256_400e_in1k.py 16
Fewer cards: 1 with optim_wrapper.accumulative_counts=16, 4 with
    optim_wrapper.accumulative_counts=4, 8 with optim_wrapper.accumulative_counts=2; batch norm
    sees the images of an iteration.
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
gpus, batch_size = 16, 256
max_epochs, warmup_epochs = 400, 10

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='ER',
    base_momentum=None,  # no EMA: both views pass through one network
    backbone=dict(type='ResNet', depth=50, norm_cfg=norm_cfg, zero_init_residual=True),
    neck=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=2048,
        out_channels=128,
        norm_cfg=norm_cfg,
    ),
    head=dict(
        type='ERHead',
        loss=dict(type='ERLoss', support='sphere', kappa=10.0, estimator='plug_in', gather=False),
    ),
)

# Data: ImageNet-1k with the two like views of SimCLR.
# Files are loaded as BGR, the order of the weights of `RandomGrayscale`; `to_rgb` turns the
# channels.
view = [
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
        ],
    ),
    dict(
        type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)
    ),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
]
data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='ImageNet1k',
        data_root='data/imagenet/',
        split='train',
        on_unreadable='skip',
        pipeline=[
            dict(type='CheckedLoadImageFromFile'),
            dict(type='MultiView', num_views=2, transforms=[view]),
            dict(type='PackInputs'),
        ],
    ),
)
eval_pipeline = [
    dict(type='CheckedLoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', interpolation='bicubic', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
eval_datasets = dict(
    train=dict(
        type='ImageNet1k', data_root='data/imagenet/', split='train', pipeline=eval_pipeline
    ),
    test=dict(type='ImageNet1k', data_root='data/imagenet/', split='val', pipeline=eval_pipeline),
)

# Optimiser and schedule: LARS without decay or adaptation of biases and batch norms, of
# which `downsample.1` is that of a ResNet's shortcut
plain = dict(decay_mult=0, lars_exclude=True)
optim_wrapper = dict(
    optimizer=dict(
        type='LARS',
        lr=0.3 * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=1e-6,
        eta=1e-3,
    ),
    paramwise_cfg=dict(custom_keys={'bn': plain, 'bias': plain, 'downsample.1': plain}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=gpus * batch_size)

# Hooks and runtime
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(type='SafeCheckpointHook', interval=10, max_keep_ckpts=2),
    draws=dict(type='ExactResumeHook'),
    bad_images=dict(type='BadImagesHook'),
    numbers=dict(type='NonFiniteHook'),
    ranks=dict(type='RanksHook'),
    signals=dict(type='SignalHook'),
)
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(seed=0)
