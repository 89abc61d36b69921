"""LeJEPA on ImageNet-1k with ViT-L/14, two global and six local views.

The settings are those that rbalestr-lab/lejepa@eddffdd recommends (README.md), and the number of
directions is that of its example; batch, drop path and widths are those of the runs that it lists,
which have 1,000 directions, and the projector is that of its MINIMAL.md. There a linear layer of
width 512 comes before the projector, and the probe reads it; here both take the backbone's token.

Paper: no number recorded here, its settings are stated (rbalestr-lab/lejepa@eddffdd).
Ours: not run.
Run: bash tools/dist_train.sh configs/family/lejepa_vitl_16xb32_100e_in1k.py 16
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
gpus, batch_size = 16, 32
max_epochs, warmup_epochs = 100, 1

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='JointEmbedding',
    together=True,  # views of one size pass the network as one batch
    backbone=dict(
        type='VisionTransformer', arch='large', img_size=224, patch_size=14, drop_path_rate=0.1
    ),
    neck=dict(
        type='NonLinearNeck',
        in_channels=1024,
        hid_channels=2048,
        out_channels=512,
        num_layers=3,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(type='LeJEPALoss', weight=0.05, directions=1024, knots=17, global_views=2),
)

# Data: ImageNet-1k in a multi-crop whose views differ in nothing but the crop.
# Files are loaded as BGR, the order of the weights of `RandomGrayscale`; `to_rgb` turns the
# channels.
large = dict(
    type='RandomResizedCrop',
    scale=224,
    crop_ratio_range=(0.3, 1.0),
    backend='pillow',
)
small = dict(
    type='RandomResizedCrop',
    scale=98,
    crop_ratio_range=(0.05, 0.3),
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
whole = [
    large,
    *colour,
    dict(blur, prob=0.5),
    dict(type='Solarize', thr=128, prob=0.2),
    dict(type='RandomFlip', prob=0.5),
]
local = [
    small,
    *colour,
    dict(blur, prob=0.5),
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
            dict(type='MultiView', num_views=[2, 6], transforms=[whole, local]),
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

# Optimiser and schedule
optim_wrapper = dict(
    type='BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=5e-2)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup_epochs, convert_to_iter_based=True),
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
