# BYOL+ER on CIFAR-10. The paper has no CIFAR-10 result; architecture and
# optimiser are those of configs/mec, kappa and entropy those of the paper.
_base_ = '../mec/r18_1xb1024_600e_cifar10.py'

max_epochs = 400
batch_size = 256

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='ER',
    base_momentum=0.004,
    neck=dict(
        out_channels=256, with_last_bn=False, with_last_bias=True),
    head=dict(
        _delete_=True,
        type='ERHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=2048,
            out_channels=256,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='ERLoss', support='sphere', kappa=10.)))

train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=0.03 * batch_size / 256))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
