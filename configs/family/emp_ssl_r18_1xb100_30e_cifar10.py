"""EMP-SSL on CIFAR-10 with 20 crops, as in the authors' code (tsb0601/EMP-SSL@8fc3758).

Their accuracy is that of the mean features of 128 crops of a test image, after the first layer of
the projector: no plain probe of the backbone compares with it.

Paper: 93.1 linear (tsb0601/EMP-SSL@8fc3758 README, features averaged over 128 crops of a test
    image).
Ours: not run.
Run: python tools/train.py configs/family/emp_ssl_r18_1xb100_30e_cifar10.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 100
max_epochs = 30

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='JointEmbedding',
    together=True,  # views of one size pass the network as one batch
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=4096,
        out_channels=1024,
        num_layers=3,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=norm_cfg,
    ),
    head=dict(type='EMPSSLLoss', invariance=200.0, rate=1.0, eps=0.2),
)

# Data: CIFAR-10, 32 x 32 pixels, with the views of the authors' code. The arrays are RGB, in which
# PIL and torchvision work; mmpretrain's own ColorJitter would take them for BGR.
view = [
    dict(
        type='torchvision/RandomResizedCrop',
        size=32,
        scale=(0.25, 0.25),
        ratio=(1.0, 1.0),
        interpolation='bilinear',
    ),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='torchvision/ColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.2,
            ),
        ],
    ),
    dict(type='torchvision/RandomGrayscale', p=0.2),
    # Blur and solarisation are mmpretrain's, which take arrays and treat all channels alike.
    dict(type='PILToNumpy'),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.1),
    dict(type='Solarize', thr=128, prob=0.1),
]
data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='LocalCIFAR10',
        data_root='data/cifar10',
        split='train',
        pipeline=[
            dict(type='NumpyToPIL'),
            dict(type='MultiView', num_views=[20], transforms=[view]),
            dict(type='PackInputs'),
        ],
    ),
)
eval_pipeline = [dict(type='PackInputs')]
eval_datasets = dict(
    train=dict(
        type='LocalCIFAR10', data_root='data/cifar10', split='train', pipeline=eval_pipeline
    ),
    test=dict(type='LocalCIFAR10', data_root='data/cifar10', split='test', pipeline=eval_pipeline),
)

# Optimiser and schedule: LARC without decay or adaptation of biases and batch norms, of
# which `downsample.1` is that of a ResNet's shortcut
plain = dict(decay_mult=0, lars_exclude=True)
optim_wrapper = dict(
    optimizer=dict(type='LARC', lr=0.3, momentum=0.9, weight_decay=1e-4, eta=5e-3, nesterov=True),
    paramwise_cfg=dict(custom_keys={'bn': plain, 'bias': plain, 'downsample.1': plain}),
)
param_scheduler = [dict(type='CosineAnnealingLR', convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
custom_hooks = [dict(type='KNNHook', interval=5, k=20)]
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
