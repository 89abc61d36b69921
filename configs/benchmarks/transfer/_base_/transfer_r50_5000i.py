"""Fine-tuning of arXiv 2011.13377, which MEC's table 8 follows: 5,000 steps at batch 64.

linusericsson/ssl-transfer@416913f:finetune.py. There the rate is one of 0.1 to 0.0001 and the
decay 0 or 1e-6 to 1e-3 divided by the rate, chosen on a validation set by 20 runs; this is one
of the 20. A recipe adds the data set, its number of classes and its score.
"""

_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
batch_size = 64
max_iters = 5000

# Model
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet', depth=50, init_cfg=dict(type='PretrainedBackbone', checkpoint=None)
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=2048),
)

# Data: a random crop in training; measured as configs/benchmarks/features does
load = [dict(type='CheckedLoadImageFromFile', imdecode_backend='pillow')]
crop = [
    dict(type='ResizeEdge', scale=224, edge='short', interpolation='bicubic', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
]
eval_pipeline = load + crop + [dict(type='PackInputs')]
train_pipeline = [
    dict(type='RandomResizedCrop', scale=224, interpolation='bicubic', backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator

# Optimiser and schedule
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
)
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, end=max_iters)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=batch_size)

# Hooks and runtime
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(
        type='SafeCheckpointHook', by_epoch=False, interval=max_iters, max_keep_ckpts=2
    ),
    draws=dict(type='ExactResumeHook'),
    bad_images=dict(type='BadImagesHook'),
    numbers=dict(type='NonFiniteHook'),
    ranks=dict(type='RanksHook'),
    signals=dict(type='SignalHook'),
)
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(seed=0)
