"""FroSSL on ImageNet-100 with two views, as in the settings that the authors released.

They are OFSkean/FroSSL@e841c57:scripts/pretrain/imagenet100/frossl.yaml, without its half
precision, which is `--amp` here.

Paper: no number recorded here, its settings are stated (OFSkean/FroSSL@e841c57).
Ours: not run.
Run: bash tools/dist_train.sh configs/family/frossl_r18_2xb256_400e_imagenet100.py 2
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
gpus, batch_size = 2, 256
max_epochs, warmup_epochs = 400, 10

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='JointEmbedding',
    together=False,  # views pass the network one by one
    backbone=dict(type='ResNet', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=2048,
        out_channels=1024,
        num_layers=3,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=norm_cfg,
    ),
    head=dict(type='FroSSLLoss', invariance=1.0, entropy=1.0, gather=False),
)

# Data: ImageNet-100, 224 x 224 pixels, with the views of solo-learn's SimCLR.
# The files are loaded as BGR; from `NumpyToPIL` on all is RGB, so the preprocessor
# does not turn the channels.
load = [dict(type='CheckedLoadImageFromFile'), dict(type='NumpyToPIL', to_rgb=True)]
view = [
    dict(
        type='torchvision/RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bicubic'
    ),
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

# Optimiser and schedule: LARC without decay or adaptation of biases and batch norms, of
# which `downsample.1` is that of a ResNet's shortcut
plain = dict(decay_mult=0, lars_exclude=True)
optim_wrapper = dict(
    optimizer=dict(
        type='LARC',
        lr=0.3 * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=1e-4,
        eta=0.02,
        nesterov=False,
    ),
    paramwise_cfg=dict(custom_keys={'bn': plain, 'bias': plain, 'downsample.1': plain}),
)
param_scheduler = [
    # From 3e-5.
    dict(type='LinearLR', start_factor=5e-5, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=gpus * batch_size)

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
