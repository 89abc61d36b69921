"""MEC on ImageNet-1k for 800 epochs: LARS at batch 4096, distortion and crops of the paper.

Paper: 74.5 linear (arXiv 2210.11464 table 1).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/r50_32xb128_800e_in1k.py 32
Fewer cards: 1 with --accumulate 32 and train_dataloader.batch_size=4096, 4 with --accumulate 8
    and train_dataloader.batch_size=1024, 8 with --accumulate 4 and
    train_dataloader.batch_size=512.
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
gpus, batch_size = 32, 128
max_epochs, warmup_epochs = 800, 10

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MEC',
    base_momentum=0.004,  # EMA 0.996 to 1
    backbone=dict(type='ResNet', depth=50, norm_cfg=norm_cfg, zero_init_residual=True),
    neck=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=2048,
        out_channels=2048,
        num_layers=3,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(
        type='MECHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg,
        ),
        loss=dict(
            type='MECLoss',
            distortion=0.06,
            taylor_order=4,
            warmup=10 / max_epochs,
            warmup_factor=8.0,
            guard=False,  # as in the paper and the code
        ),
    ),
)

# Data: ImageNet-1k with the two views of BYOL, with crops from 8 % of the image on.
# Files are loaded as BGR, the order of the weights of `RandomGrayscale`; `to_rgb` turns the
# channels.
crop = dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), backend='pillow')
colour = [
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
        ],
    ),
    dict(
        type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)
    ),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
first = [
    crop,
    *colour,
    dict(blur, prob=1.0),
    dict(type='Solarize', thr=128, prob=0.0),
    dict(type='RandomFlip', prob=0.5),
]
second = [
    crop,
    *colour,
    dict(blur, prob=0.1),
    dict(type='Solarize', thr=128, prob=0.2),
    dict(type='RandomFlip', prob=0.5),
]
data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
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
            dict(type='MultiView', num_views=[1, 1], transforms=[first, second]),
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
        weight_decay=1.5e-6,
        eta=1e-3,
    ),
    paramwise_cfg=dict(custom_keys={'bn': plain, 'bias': plain, 'downsample.1': plain}),
)
param_scheduler = [
    # From 0, as near as mmengine allows.
    dict(type='LinearLR', start_factor=1e-12, end=warmup_epochs, convert_to_iter_based=True),
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
