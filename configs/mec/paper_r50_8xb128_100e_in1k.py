# MEC on ImageNet-1k as in the paper: distortion and crops differ from the
# code.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/mec_r50.py',
    '../_base_/datasets/imagenet_byol.py', '../_base_/schedules/cosine.py'
]

gpus, batch_size = 8, 128
model = dict(head=dict(loss=dict(distortion=0.06)))
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(
        type='SGD',
        lr=0.5 * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=1e-5))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
