"""MEC on a folder of your own images, the views made in batch on the device.

Large JPEGs are decoded at half, a quarter or an eighth of their size.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/mec/fast_r50_1xb64_100e_folder.py
"""

_base_ = 'r50_1xb64_100e_folder.py'
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
decode = dict(type='ReducedLoadImageFromFile', imdecode_backend='pillow')
steps = [dict(decode, size=224, crop_ratio_range=(0.2, 1.0)), dict(type='PackImage')]
train_dataloader = dict(collate_fn=dict(type='collate_images'), dataset=dict(pipeline=steps))
