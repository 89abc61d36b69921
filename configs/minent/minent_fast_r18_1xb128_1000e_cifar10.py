"""MinEnt on CIFAR-10, the views made in batch on the device.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_fast_r18_1xb128_1000e_cifar10.py
"""

_base_ = 'minent_r18_1xb128_1000e_cifar10.py'
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
train_dataloader = dict(
    collate_fn=dict(type='collate_images'), dataset=dict(pipeline=[dict(type='PackImage')])
)
