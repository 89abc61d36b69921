# 1,797 handwritten digits, 8 x 8, that come with scikit-learn.
view = [
    dict(
        type='RandomResizedCrop',
        scale=16,
        crop_ratio_range=(0.4, 1.),
        interpolation='bilinear'),
    dict(
        type='Rotate',
        magnitude_range=(0, 20),
        magnitude_level=10,
        magnitude_std='inf',
        pad_val=0,
        prob=0.8,
        interpolation='bilinear'),
    dict(
        type='Brightness',
        magnitude_range=(0, 0.4),
        magnitude_level=10,
        magnitude_std='inf',
        prob=0.8),
]
eval_pipeline = [
    dict(type='Resize', scale=(16, 16), interpolation='bilinear'),
    dict(type='PackInputs'),
]
eval_datasets = dict(
    train=dict(type='Digits', split='train', pipeline=eval_pipeline),
    test=dict(type='Digits', split='test', pipeline=eval_pipeline))

data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[77.8], std=[95.7])
train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='Digits',
        split='train',
        pipeline=[
            dict(type='MultiView', num_views=[2], transforms=[view]),
            dict(type='PackInputs'),
        ]))
