"""Fine-tuning of a ResNet-50 on 1 % of ImageNet-1k's labels, as in MEC, 4.1.

The images are those of SimCLR's list, the augmentation that of the linear probe.

Paper: 55.9 top-1, 79.6 top-5 after 800 epochs of MEC (arXiv 2210.11464).
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/semi_supervised/r50_8xb128_50e_in1k_1p.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmpretrain::_base_/default_runtime.py',
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py',
]
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
gpus, batch_size = 8, 128
max_epochs = 50

# Model
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=50,
        norm_cfg=dict(type='GlobalBN'),
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=2048, num_classes=1000, topk=(1, 5)),
)

# Data: mmpretrain's, a random crop and flip of 224 x 224 pixels
train_dataloader = dict(
    batch_size=batch_size,
    drop_last=True,
    dataset=dict(
        _delete_=True,
        type='LabelSubset',
        names='data/imagenet/1percent.txt',
        dataset=dict(
            type='ImageNet',
            data_root='data/imagenet',
            split='train',
            pipeline=_base_.train_pipeline,
        ),
    ),
)

# Optimiser and schedule: learning rates at batch 256, of which the paper names one
backbone_lr, head_lr = 0.05, 0.05
optim_wrapper = dict(
    optimizer=dict(
        type='SGD',
        lr=backbone_lr * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=0.0,
    ),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=head_lr / backbone_lr))),
)
param_scheduler = [dict(type='CosineAnnealingLR', end=max_epochs, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=gpus * batch_size)

# Hooks and runtime
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
