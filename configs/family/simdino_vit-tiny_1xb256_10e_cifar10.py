"""SimDINO on CIFAR-10 with ViT-Tiny, patches of 4 x 4 pixels and four local views of 16 x 16.

Views are made in batch on the device. There is no drop path, which the teacher would have too.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/family/simdino_vit-tiny_1xb256_10e_cifar10.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 256
max_epochs, warmup_epochs = 10, 1

# Model
model = dict(
    type='SimDINO',
    base_momentum=0.004,  # EMA 0.996 to 1
    backbone=dict(type='VisionTransformer', arch='deit-tiny', img_size=32, patch_size=4),
    neck=dict(
        type='MLPNeck',
        in_channels=192,
        hid_channels=2048,
        out_channels=256,
        num_layers=3,
        act_cfg=dict(type='GELU'),
        with_avg_pool=False,
    ),
    head=dict(type='SimDINOLoss', invariance=1.0, rate=1.0, eps=0.05, with_teacher=False),
)

# Data: CIFAR-10, two global views of 32 x 32 pixels and four local ones of 16 x 16. The arrays are
# RGB, in which PIL and torchvision work; mmpretrain's own ColorJitter would take them for BGR.
whole = dict(
    type='torchvision/RandomResizedCrop', size=32, scale=(0.4, 1.0), interpolation='bicubic'
)
small = dict(
    type='torchvision/RandomResizedCrop', size=16, scale=(0.05, 0.4), interpolation='bicubic'
)
rest = [
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='torchvision/ColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1,
            ),
        ],
    ),
    dict(type='torchvision/RandomGrayscale', p=0.2),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
]
data_preprocessor = dict(
    type='BatchViews',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    pipeline=[
        dict(type='NumpyToPIL'),
        dict(type='MultiView', num_views=[2, 4], transforms=[[whole, *rest], [small, *rest]]),
        dict(type='PackInputs'),
    ],
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='collate_images'),
    drop_last=True,
    dataset=dict(
        type='LocalCIFAR10',
        data_root='data/cifar10',
        split='train',
        pipeline=[dict(type='PackImage')],
    ),
)
eval_pipeline = [dict(type='PackInputs')]
eval_datasets = dict(
    train=dict(
        type='LocalCIFAR10', data_root='data/cifar10', split='train', pipeline=eval_pipeline
    ),
    test=dict(type='LocalCIFAR10', data_root='data/cifar10', split='test', pipeline=eval_pipeline),
)

# Optimiser and schedule: biases and norms do not decay, nor do tokens of one dimension
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=5e-4 * batch_size / 256, weight_decay=0.04),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
)
param_scheduler = [
    # From 0.04 to 0.4.
    dict(type='CosineAnnealingWeightDecay', eta_min=0.4, convert_to_iter_based=True),
    dict(type='LinearLR', start_factor=0.01, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, eta_min=1e-6, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
custom_hooks = [dict(type='KNNHook', interval=1, k=20)]
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
