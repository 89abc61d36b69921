"""I-VNE+ on ImageNet-100 with two global and four local views, as in the authors' code.

It is jaeill/CVPR23-VNE@c63961b:examples/i-vne+/train_ivne_imagenet100.py.

Paper: 86.3 linear (arXiv 2304.01434 table 5b).
Ours: not run.
Run: python tools/train.py configs/family/ivne_r50_1xb64_800e_imagenet100.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 64
max_epochs, warmup_epochs = 800, 10

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='JointEmbedding',
    together=True,  # views of one size pass the network as one batch
    backbone=dict(type='ResNet', depth=50, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='NonLinearNeck',
        in_channels=2048,
        hid_channels=2048,
        out_channels=256,
        num_layers=3,
        with_bias=True,
        with_last_bias=True,
        norm_cfg=norm_cfg,
    ),
    head=dict(type='IVNELoss', invariance=4.16, entropy=1.0, global_views=2),
)

# Data: ImageNet-100, 224 x 224 pixels, with the multi-crop of SwAV.
# The files are loaded as BGR; from `NumpyToPIL` on all is RGB, so the preprocessor
# does not turn the channels.
load = [dict(type='CheckedLoadImageFromFile'), dict(type='NumpyToPIL', to_rgb=True)]
rest = [
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='torchvision/ColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.2,
                hue=0.1,
            ),
        ],
    ),
    dict(type='torchvision/RandomGrayscale', p=0.2),
    # Blur and solarisation are mmpretrain's, which take arrays and treat all channels alike.
    dict(type='PILToNumpy'),
]
blurred = [
    *rest,
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=1.0),
]
solarised = [
    *rest,
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.1),
    dict(type='Solarize', thr=128, prob=0.2),
]
large = dict(
    type='torchvision/RandomResizedCrop', size=224, scale=(0.14, 1.0), interpolation='bilinear'
)
small = dict(
    type='torchvision/RandomResizedCrop', size=96, scale=(0.05, 0.14), interpolation='bilinear'
)
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
            dict(
                type='MultiView',
                num_views=[1, 1, 2, 2],
                transforms=[
                    [large, *blurred],
                    [large, *solarised],
                    [small, *blurred],
                    [small, *solarised],
                ],
            ),
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

# Optimiser and schedule: biases do not decay, nor do batch norms but those of shortcuts and of the
# projector, which the authors' code does not name so
plain, decaying = dict(decay_mult=0), dict(decay_mult=1)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.4 * batch_size / 256, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys={
            'bn': plain,
            'bias': plain,
            'neck.bn0.weight': decaying,
            'neck.bn1.weight': decaying,
            'neck.bn2.weight': decaying,
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
custom_hooks = [dict(type='KNNHook', interval=10, k=20)]
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
