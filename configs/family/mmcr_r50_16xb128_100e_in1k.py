"""MMCR on ImageNet-1k with two views, as in the authors' code (ThomasYerxa/mmcr@fafd3a9).

It is their `--objective MMCR`. Their default adds the projections of a moving average of the
network to the means.

Paper: no number recorded here, its settings are stated (ThomasYerxa/mmcr@fafd3a9).
Ours: not run.
Run: bash tools/dist_train.sh configs/family/mmcr_r50_16xb128_100e_in1k.py 16
Fewer cards: 1 with --accumulate 16 and train_dataloader.batch_size=2048, 4 with --accumulate 4
    and train_dataloader.batch_size=512, 8 with --accumulate 2 and
    train_dataloader.batch_size=256.
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
gpus, batch_size = 16, 128
max_epochs, warmup_epochs = 100, 10

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='JointEmbedding',
    together=True,  # views of one size pass the network as one batch
    backbone=dict(type='ResNet', depth=50, norm_cfg=norm_cfg, zero_init_residual=True),
    neck=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=8192,
        out_channels=512,
        num_layers=3,
        with_last_bn=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(type='MMCRLoss', local=0.0),
)

# Data: ImageNet-1k with the two views of Barlow Twins.
# Files are loaded as BGR, the order of the weights of `RandomGrayscale`; `to_rgb` turns the
# channels.
crop = dict(
    type='RandomResizedCrop',
    scale=224,
    crop_ratio_range=(0.08, 1.0),
    interpolation='bicubic',
    backend='pillow',
)
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
# which `downsample.1` is that of a ResNet's shortcut. Each rank of the authors' code has the
# gradient of its own rows, and their mean is 1/16 of the gradient of the loss. LARS is the same for
# a multiple of the gradient with as many times the decay; what it leaves out learns at 1/16.
plain = dict(decay_mult=0, lars_exclude=True, lr_mult=1 / gpus)
optim_wrapper = dict(
    optimizer=dict(
        type='LARS',
        lr=0.6 * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=1e-6 * gpus,
        eta=1e-3,
    ),
    paramwise_cfg=dict(custom_keys={'bn': plain, 'bias': plain, 'downsample.1': plain}),
)
param_scheduler = [
    # From 0, as near as mmengine allows.
    dict(type='LinearLR', start_factor=1e-12, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_epochs,
        eta_min_ratio=1e-3,
        convert_to_iter_based=True,
    ),
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
