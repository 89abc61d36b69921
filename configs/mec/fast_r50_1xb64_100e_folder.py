"""MEC on a folder of your own images, the views made in batch on the device.

Large JPEGs are decoded at half, a quarter or an eighth of their size.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/mec/fast_r50_1xb64_100e_folder.py
"""

_base_ = 'r50_1xb64_100e_folder.py'
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
load = dict(
    type='ReducedLoadImageFromFile',
    size=224,
    crop_ratio_range=(0.2, 1.0),
    imdecode_backend='pillow',
)
train_dataloader = dict(
    collate_fn=dict(type='collate_images'), dataset=dict(pipeline=[load, dict(type='PackImage')])
)
