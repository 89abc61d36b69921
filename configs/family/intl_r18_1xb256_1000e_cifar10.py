"""INTL on CIFAR-10, as in the authors' script (winci-ai/INTL@0aa69af).

Paper: 92.6 linear, 90.03 kNN (k = 5, Euclidean) (winci-ai/INTL@0aa69af README).
Ours: not run.
Run: python tools/train.py configs/family/intl_r18_1xb256_1000e_cifar10.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 256
max_epochs, warmup_epochs = 1000, 2

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='JointEmbedding',
    together=False,  # views pass the network one by one
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg, zero_init_residual=False),
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=2048,
        out_channels=2048,
        num_layers=3,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=norm_cfg,
    ),
    head=dict(type='INTLLoss', whitening='channel', iterations=4, trade_off=None),
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
    # The solarisation is mmpretrain's, which takes arrays and treats all channels alike.
    dict(type='PILToNumpy'),
]
first = common
second = [
    *common,
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

# Optimiser and schedule
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.3 * batch_size / 256, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=2e-3, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_epochs,
        eta_min_ratio=1e-3,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
custom_hooks = [dict(type='KNNHook', interval=20, k=5, metric='euclidean')]
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
