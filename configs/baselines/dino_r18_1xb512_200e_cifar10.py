# DINO on CIFAR-10, the baseline of DINO+ER.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/byol_r18_cifar.py',
    '../_base_/datasets/cifar10.py', '../_base_/schedules/sgd_cifar.py'
]

model = dict(
    _delete_=True,
    type='DINO',
    base_momentum=0.004,
    backbone=_base_.model.backbone,
    neck=dict(
        type='PrototypeNeck',
        in_channels=256,
        num_prototypes=4096,
        projector=dict(
            type='NonLinearNeck',
            in_channels=512,
            hid_channels=2048,
            out_channels=256,
            with_last_bn_affine=False,
            norm_cfg=_base_.norm_cfg)),
    head=dict(type='ERHead', loss=dict(type='DINOLoss')))
batch_size = 512
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=0.03 * batch_size / 256))
auto_scale_lr = dict(base_batch_size=batch_size)
