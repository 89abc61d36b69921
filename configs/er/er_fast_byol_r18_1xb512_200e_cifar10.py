"""BYOL+ER on CIFAR-10, the views made in batch on the device.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/er/er_fast_byol_r18_1xb512_200e_cifar10.py
"""

_base_ = 'er_byol_r18_1xb512_200e_cifar10.py'
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
train_dataloader = dict(
    collate_fn=dict(type='collate_images'), dataset=dict(pipeline=[dict(type='PackImage')])
)
