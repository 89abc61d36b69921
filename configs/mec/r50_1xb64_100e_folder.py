# MEC on a folder of your own images, flat or nested, without labels: --cfg-
# options train_dataloader.dataset.data_root=/path/to/images
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/mec_r50.py',
    '../_base_/datasets/folder.py', '../_base_/schedules/cosine.py'
]

batch_size = 64
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(
        type='SGD',
        lr=0.5 * batch_size / 256,
        momentum=0.9,
        weight_decay=1e-5))
auto_scale_lr = dict(base_batch_size=batch_size)
