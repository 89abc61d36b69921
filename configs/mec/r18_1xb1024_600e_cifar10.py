# MEC on CIFAR-10, appendix B of arXiv 2210.11464: about 90.2 % linear and
# 89.8 % kNN, read off figure 4c. Not reproduced here.
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/cifar10.py']

max_epochs = 600
batch_size = 1024

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='MEC',
    backbone=dict(type='ResNet_CIFAR', depth=18, norm_cfg=norm_cfg),
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=2048,
        out_channels=2048,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg),
    head=dict(
        type='MECHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='MECLoss', distortion=0.06, warmup=0.1)))

train_dataloader = dict(batch_size=batch_size, num_workers=8)
optim_wrapper = dict(
    optimizer=dict(
        type='SGD',
        lr=0.03 * batch_size / 256,
        momentum=0.9,
        weight_decay=5e-4))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
custom_hooks = [
    dict(
        type='KNNHook',
        train=_base_.eval_datasets['train'],
        test=_base_.eval_datasets['test'],
        interval=20)
]
