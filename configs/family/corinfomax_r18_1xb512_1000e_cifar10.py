"""CorInfoMax on CIFAR-10, as in the authors' command (serdarozsoy/corinfomax-ssl@c0b917e).

Paper: 93.18 linear (serdarozsoy/corinfomax-ssl@c0b917e README).
Ours: not run.
Run: python tools/train.py configs/family/corinfomax_r18_1xb512_1000e_cifar10.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 512
max_epochs, warmup_epochs = 1000, 10

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='JointEmbedding',
    together=False,  # views pass the network one by one
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg, zero_init_residual=True),
    neck=dict(
        type='MLPNeck',
        in_channels=512,
        hid_channels=2048,
        out_channels=64,
        num_layers=3,
        act_cfg=dict(type='ReLU'),
        with_last_bias=False,
        init_cfg=None,
    ),
    head=dict(
        type='CorInfoMaxLoss', in_channels=64, invariance=250.0, spread=1.0, momentum=0.01, eps=1e-8
    ),
)

# Data: CIFAR-10, 32 x 32 pixels, with the views of the authors' code. The arrays are RGB, in which
# PIL and torchvision work; mmpretrain's own ColorJitter would take them for BGR.
common = [
    dict(type='torchvision/RandomResizedCrop', size=32, scale=(0.08, 1.0), interpolation='bicubic'),
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
first = [
    *common,
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=1.0),
]
second = [
    *common,
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.1),
    dict(type='Solarize', thr=128, prob=0.2),
]
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255]
)
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
            dict(type='MultiView', num_views=[1, 1], transforms=[first, second]),
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

# Optimiser and schedule, which moves once an epoch
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=3e-3 / 0.5, end=warmup_epochs),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, eta_min=1e-6),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
custom_hooks = [dict(type='KNNHook', interval=20, k=20)]
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
