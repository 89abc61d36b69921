# DINO, the baseline of DINO+ER at batch 4096.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/dino_r50.py',
    '../_base_/datasets/imagenet_multicrop.py', '../_base_/schedules/lars.py'
]

gpus, batch_size = 16, 256
max_epochs = 400
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(lr=0.3 * gpus * batch_size / 256, weight_decay=1e-6))
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
