"""Linear probe of a ResNet-50 on ImageNet-1k, as in MEC's code.

xinliu20/MEC@35045dc:benchmarks/linearprob. LARS with mmpretrain's eta is apex' LARC with
trust_coefficient=0.001 and clip=False.

Paper: 70.6 top-1 (70.8 in the code's README) after 100 epochs of MEC.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/linear/r50_8xb512_100e_in1k.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmpretrain::_base_/default_runtime.py',
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py',
]
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)
gpus, batch_size = 8, 512
max_epochs = 100

# Model
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=50,
        frozen_stages=4,
        norm_eval=True,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='BatchNormLinearClsHead', in_channels=2048, num_classes=1000, topk=(1, 5)),
)

# Data: mmpretrain's, a random crop and flip of 224 x 224 pixels
train_dataloader = dict(batch_size=batch_size)

# Optimiser and schedule
optim_wrapper = dict(
    optimizer=dict(
        type='LARS',
        lr=0.03 * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=0.0,
        eta=1e-3,
    )
)
param_scheduler = [dict(type='CosineAnnealingLR', end=max_epochs)]
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
