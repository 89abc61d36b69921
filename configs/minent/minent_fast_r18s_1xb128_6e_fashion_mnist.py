"""MinEnt on Fashion-MNIST, the views made in batch on the device.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_fast_r18s_1xb128_6e_fashion_mnist.py
"""

_base_ = 'minent_r18s_1xb128_6e_fashion_mnist.py'
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
train_dataloader = dict(
    collate_fn=dict(type='collate_images'), dataset=dict(pipeline=[dict(type='PackImage')])
)
