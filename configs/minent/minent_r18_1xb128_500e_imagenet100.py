"""MinEnt on ImageNet-100 with eight heads, as in the authors' code (LiShuo1001/MinEnt@d17ed2f).

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_r18_1xb128_500e_imagenet100.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 128
max_epochs = 500

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MinEnt',
    # torchvision's initialisation leaves the last batch norm of a block at 1.
    backbone=dict(type='ResNet', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MinEntHead',
        in_channels=512,
        hid_channels=1024,
        out_channels=[2048, 1024, 512, 256, 128, 64, 32, 16],
        num_layers=3,
        norm_cfg=norm_cfg,
        loss=dict(type='MinEntLoss', norm='batch'),
    ),
)

# Data: ImageNet-100, 224 x 224 pixels
# The files are loaded as BGR; from `NumpyToPIL` on all is RGB, so the preprocessor
# does not turn the channels.
load = [dict(type='CheckedLoadImageFromFile'), dict(type='NumpyToPIL', to_rgb=True)]
view = [
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='torchvision/ColorJitter',
                brightness=0.8,
                contrast=0.8,
                saturation=0.8,
                hue=0.2,
            ),
        ],
    ),
    dict(type='torchvision/RandomGrayscale', p=0.2),
    dict(
        type='torchvision/RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'
    ),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
    # The blur is mmpretrain's, which takes arrays; it treats all channels alike.
    dict(type='PILToNumpy'),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
]
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='ImageNet100',
        data_root='data/imagenet',
        split='train',
        on_unreadable='skip',
        pipeline=[
            *load,
            dict(type='MultiView', num_views=[2], transforms=[view]),
            dict(type='PackInputs'),
        ],
    ),
)
eval_pipeline = [
    *load,
    dict(type='torchvision/Resize', size=256),
    dict(type='torchvision/CenterCrop', size=224),
    dict(type='PackInputs'),
]
eval_datasets = dict(
    train=dict(
        type='ImageNet100', data_root='data/imagenet', split='train', pipeline=eval_pipeline
    ),
    test=dict(type='ImageNet100', data_root='data/imagenet', split='val', pipeline=eval_pipeline),
)

# Optimiser and schedule
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-6))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 500, by_epoch=False, end=500),
    dict(type='MultiStepLR', milestones=[max_epochs - 50, max_epochs - 25], gamma=0.2),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
custom_hooks = [dict(type='KNNHook', k=5, metric='euclidean', interval=10)]
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
