"""BYOL+ER on Digits, the views made in batch on the device.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/er/er_fast_byol_r18s_1xb64_50e_digits.py
"""

_base_ = 'er_byol_r18s_1xb64_50e_digits.py'
data_preprocessor = dict(type='BatchViews', pipeline=_base_.train_dataloader.dataset.pipeline)
train_dataloader = dict(
    collate_fn=dict(type='collate_images'), dataset=dict(pipeline=[dict(type='PackImage')])
)
