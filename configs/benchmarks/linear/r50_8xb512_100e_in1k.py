# Linear probe of MEC, xinliu20/MEC@35045dc:benchmarks/linearprob: its 100-epoch
# ResNet-50 has 70.6 % in the paper and 70.8 % in the code's README. LARS with
# mmpretrain's eta is apex' LARC with trust_coefficient=0.001 and clip=False.
_base_ = [
    '../../_base_/default_runtime.py',
    'mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py'
]

gpus, batch_size = 8, 512
max_epochs = 100
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=50,
        frozen_stages=4,
        norm_eval=True,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='BatchNormLinearClsHead',
        in_channels=2048,
        num_classes=1000,
        topk=(1, 5)))

train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(
        type='LARS',
        lr=0.03 * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=0.,
        eta=1e-3))
param_scheduler = [dict(type='CosineAnnealingLR', end=max_epochs)]
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
