"""MinEnt on ImageNet-100, the views made in batch on the device.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_fast_r18_1xb128_500e_imagenet100.py
"""

_base_ = 'minent_r18_1xb128_500e_imagenet100.py'
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
# The views are of RGB, which the second step of `load` makes.
steps = [dict(type='ReducedLoadImageFromFile', size=224), _base_.load[1], dict(type='PackImage')]
train_dataloader = dict(collate_fn=dict(type='collate_images'), dataset=dict(pipeline=steps))
