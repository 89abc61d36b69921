# MEC on ImageNet-1k as in the authors' code (xinliu20/MEC@35045dc).
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/mec_r50.py',
    '../_base_/datasets/imagenet.py', '../_base_/schedules/cosine.py'
]

gpus, batch_size = 8, 128
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(
        type='SGD',
        lr=0.5 * gpus * batch_size / 256,
        momentum=0.9,
        weight_decay=1e-5))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
