"""mmpretrain's SimSiam on Fashion-MNIST, with projector and predictor of MEC.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/baselines/simsiam_r18s_1xb128_6e_fashion_mnist.py
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 128
max_epochs, warmup_epochs = 6, 1

# Model
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='SimSiam',
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        in_channels=1,
        stem_channels=32,
        base_channels=32,
        num_stages=3,
        strides=(2, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        zero_init_residual=True,
        norm_cfg=norm_cfg,
    ),
    neck=dict(
        type='NonLinearNeck',
        in_channels=128,
        hid_channels=512,
        out_channels=512,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg,
    ),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=512,
            hid_channels=128,
            out_channels=512,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg,
        ),
        loss=dict(type='CosineSimilarityLoss'),
    ),
)

# Data: Fashion-MNIST, 28 x 28 pixels with one channel
view = [
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[dict(type='torchvision/ColorJitter', brightness=0.4, contrast=0.4)],
    ),
    dict(type='torchvision/RandomResizedCrop', size=28, scale=(0.2, 1.0), interpolation='bicubic'),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
]
data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=[72.94], std=[90.02])
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='LocalFashionMNIST',
        data_root='data/fashion_mnist',
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
        type='LocalFashionMNIST',
        data_root='data/fashion_mnist',
        split='train',
        pipeline=eval_pipeline,
    ),
    test=dict(
        type='LocalFashionMNIST',
        data_root='data/fashion_mnist',
        split='test',
        pipeline=eval_pipeline,
    ),
)

# Optimiser and schedule
lr = 0.25
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
custom_hooks = [
    # mmpretrain's SimSiam: the learning rate of the predictor stays as it is, without schedule.
    dict(type='SimSiamHook', priority='HIGH', fix_pred_lr=True, lr=lr, adjust_by_epoch=False),
    # 10,000 rows are enough to follow a run.
    dict(type='KNNHook', train=dict(eval_datasets['train'], indices=10000), interval=1, k=20),
]
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
    draws=dict(type='ExactResumeHook'),
    bad_images=dict(type='BadImagesHook'),
    numbers=dict(type='NonFiniteHook'),
    ranks=dict(type='RanksHook'),
    signals=dict(type='SignalHook'),
)
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(seed=0)
