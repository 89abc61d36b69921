auto_scale_lr = dict(base_batch_size=64)
batch_size = 64
code = dict(commit='b63010e214')
custom_hooks = [
    dict(interval=10, type='KNNHook'),
]
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'mmentropy',
    ])
data_preprocessor = dict(
    mean=[
        77.8,
    ], std=[
        95.7,
    ], type='SelfSupDataPreprocessor')
default_hooks = dict(
    bad_images=dict(type='BadImagesHook'),
    checkpoint=dict(
        _scope_='mmpretrain',
        interval=1,
        max_keep_ckpts=-1,
        type='SafeCheckpointHook'),
    draws=dict(type='ExactResumeHook'),
    logger=dict(_scope_='mmpretrain', interval=50, type='LoggerHook'),
    numbers=dict(type='NonFiniteHook'),
    param_scheduler=dict(_scope_='mmpretrain', type='ParamSchedulerHook'),
    ranks=dict(type='RanksHook'),
    sampler_seed=dict(_scope_='mmpretrain', type='DistSamplerSeedHook'),
    signals=dict(type='SignalHook'),
    timer=dict(_scope_='mmpretrain', type='IterTimerHook'),
    visualization=dict(
        _scope_='mmpretrain', enable=False, type='VisualizationHook'))
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
eval_datasets = dict(
    test=dict(
        pipeline=[
            dict(interpolation='bilinear', scale=(
                16,
                16,
            ), type='Resize'),
            dict(type='PackInputs'),
        ],
        split='test',
        type='Digits'),
    train=dict(
        pipeline=[
            dict(interpolation='bilinear', scale=(
                16,
                16,
            ), type='Resize'),
            dict(type='PackInputs'),
        ],
        split='train',
        type='Digits'))
eval_pipeline = [
    dict(interpolation='bilinear', scale=(
        16,
        16,
    ), type='Resize'),
    dict(type='PackInputs'),
]
launcher = 'none'
load_from = None
log_level = 'INFO'
model = dict(
    backbone=dict(
        base_channels=4,
        depth=18,
        dilations=(
            1,
            1,
        ),
        in_channels=1,
        norm_cfg=dict(type='GlobalBN'),
        num_stages=2,
        out_indices=(1, ),
        stem_channels=32,
        strides=(
            2,
            2,
        ),
        type='ResNet_CIFAR',
        zero_init_residual=False),
    base_momentum=0.1,
    head=dict(
        loss=dict(type='MECLoss', warmup=0.1),
        predictor=dict(
            hid_channels=8,
            in_channels=16,
            norm_cfg=dict(type='GlobalBN'),
            out_channels=16,
            type='NonLinearNeck',
            with_avg_pool=False,
            with_last_bias=True,
            with_last_bn=False),
        type='MECHead'),
    neck=dict(
        hid_channels=16,
        in_channels=8,
        norm_cfg=dict(type='GlobalBN'),
        out_channels=16,
        type='NonLinearNeck',
        with_last_bn_affine=False),
    type='MEC')
norm_cfg = dict(type='GlobalBN')
optim_wrapper = dict(
    optimizer=dict(lr=0.5, momentum=0.9, type='SGD', weight_decay=0.0001))
param_scheduler = [
    dict(convert_to_iter_based=True, end=1, start_factor=0.1, type='LinearLR'),
    dict(
        T_max=3,
        begin=1,
        convert_to_iter_based=True,
        end=4,
        type='CosineAnnealingLR'),
]
randomness = dict(deterministic=False, seed=0)
resume = False
train_cfg = dict(max_epochs=4, type='EpochBasedTrainLoop')
train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        indices=128,
        pipeline=[
            dict(
                num_views=[
                    2,
                ],
                transforms=[
                    [
                        dict(
                            crop_ratio_range=(
                                0.4,
                                1.0,
                            ),
                            interpolation='bilinear',
                            scale=16,
                            type='RandomResizedCrop'),
                        dict(
                            interpolation='bilinear',
                            magnitude_level=10,
                            magnitude_range=(
                                0,
                                20,
                            ),
                            magnitude_std='inf',
                            pad_val=0,
                            prob=0.8,
                            type='Rotate'),
                        dict(
                            magnitude_level=10,
                            magnitude_range=(
                                0,
                                0.4,
                            ),
                            magnitude_std='inf',
                            prob=0.8,
                            type='Brightness'),
                    ],
                ],
                type='MultiView'),
            dict(type='PackInputs'),
        ],
        split='train',
        type='Digits'),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='DefaultSampler'))
view = [
    dict(
        crop_ratio_range=(
            0.4,
            1.0,
        ),
        interpolation='bilinear',
        scale=16,
        type='RandomResizedCrop'),
    dict(
        interpolation='bilinear',
        magnitude_level=10,
        magnitude_range=(
            0,
            20,
        ),
        magnitude_std='inf',
        pad_val=0,
        prob=0.8,
        type='Rotate'),
    dict(
        magnitude_level=10,
        magnitude_range=(
            0,
            0.4,
        ),
        magnitude_std='inf',
        prob=0.8,
        type='Brightness'),
]
vis_backends = [
    dict(_scope_='mmpretrain', type='LocalVisBackend'),
]
visualizer = dict(
    _scope_='mmpretrain',
    type='UniversalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
warmup_epochs = 5
work_dir = 'work/mec'
