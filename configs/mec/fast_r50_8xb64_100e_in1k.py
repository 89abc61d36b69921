"""MEC on ImageNet-1k at batch 512, the views made in batch on the device.

Paper: not reported.
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/fast_r50_8xb64_100e_in1k.py 8
"""

_base_ = 'r50_8xb128_100e_in1k.py'
gpus, batch_size = 8, 64
optim_wrapper = dict(optimizer=dict(lr=0.5 * gpus * batch_size / 256))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
steps = [dict(type='ReducedLoadImageFromFile', size=224), dict(type='PackImage')]
train_dataloader = dict(
    batch_size=batch_size, collate_fn=dict(type='collate_images'), dataset=dict(pipeline=steps)
)
