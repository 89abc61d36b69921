"""MEC on a folder of images of any channels and depth, here TIFFs of 8 bands of 16 bits.

Put the three lines of `python tools/folder_statistics.py FOLDER` in place of those below.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/mec/r50_1xb64_100e_bands.py
"""

_base_ = 'r50_1xb64_100e_folder.py'
load = dict(type='CheckedLoadImageFromFile', color_type='unchanged')
model = dict(backbone=dict(in_channels=8))
data_preprocessor = dict(mean=[4000.0] * 8, std=[2000.0] * 8)
view = [_base_.crop, dict(_base_.blur, prob=0.5), dict(type='RandomFlip', prob=0.5)]
views = dict(type='MultiView', num_views=2, transforms=[view])
data_preprocessor.update(type='BatchViews', pipeline=[views], to_rgb=False)
steps = dict(pipeline=[load, dict(type='PackImage')])
train_dataloader = dict(collate_fn=dict(type='collate_images'), dataset=steps)
