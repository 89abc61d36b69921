# Six local views of 96 x 96 beside the two global ones, as in SwAV.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/mec_r50.py',
    '../_base_/datasets/imagenet_multicrop.py', '../_base_/schedules/lars.py'
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
