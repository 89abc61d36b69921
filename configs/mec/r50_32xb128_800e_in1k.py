# MEC on ImageNet-1k for 800 epochs: LARS at batch 4096, distortion and crops
# of the paper.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/mec_r50.py',
    '../_base_/datasets/imagenet_byol.py', '../_base_/schedules/lars.py'
]

gpus, batch_size = 32, 128
max_epochs = 800
model = dict(
    head=dict(loss=dict(distortion=0.06, warmup=10 / max_epochs)))
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(lr=0.3 * gpus * batch_size / 256, weight_decay=1.5e-6))
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
