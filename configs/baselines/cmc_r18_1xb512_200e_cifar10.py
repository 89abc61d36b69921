"""CMC on CIFAR-10: lightness against colour, each by an encoder of its own.

The representation is that of both encoders, 2 x 512 features.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/baselines/cmc_r18_1xb512_200e_cifar10.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 512
max_epochs = 200

# Model
norm_cfg = dict(type='GlobalBN')
mean, std = [125.307, 122.961, 113.8575], [51.5865, 50.847, 51.255]
encoder = dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg)
projector = dict(
    type='NonLinearNeck',
    in_channels=512,
    hid_channels=2048,
    out_channels=128,
    with_last_bn=False,
    with_last_bias=True,
    norm_cfg=norm_cfg,
)
model = dict(
    type='CMC',
    backbone=dict(
        type='TwoEncoders',
        encoders=[dict(encoder, in_channels=1), dict(encoder, in_channels=2)],
        split='lab',
        mean=mean,
        std=std,
    ),
    neck=dict(type='TwoProjectors', projectors=[projector, projector]),
    head=dict(type='CMCHead', temperature=0.07),
)

# Data: CIFAR-10, 32 x 32 pixels. Crops and flips only, as in the paper: a gray view has no colour
# to compare, and jitter would change it.
view = [
    dict(type='torchvision/RandomResizedCrop', size=32, scale=(0.2, 1.0), interpolation='bilinear'),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
]
data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=mean, std=std)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
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
            dict(type='MultiView', num_views=[2], transforms=[view]),
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

# Optimiser and schedule
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.03 * batch_size / 256, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [dict(type='CosineAnnealingLR', convert_to_iter_based=True)]
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
