# Tiny ImageNet with the two views of STL-10. The loader gives BGR; from there
# on all is RGB, so that the preprocessor does not turn the channels.
_base_ = ['stl10.py']

data_preprocessor = dict(
    mean=[122.4, 114.24, 101.49], std=[70.635, 68.595, 71.91])

load = [
    dict(type='CheckedLoadImageFromFile'),
    dict(type='NumpyToPIL', to_rgb=True),
]
eval_pipeline = [*load, dict(type='PackInputs')]

train_dataloader = dict(
    dataset=dict(
        type='TinyImageNet',
        data_root='data/tiny-imagenet-200',
        split='train',
        on_unreadable='skip',
        pipeline=[
            *load,
            dict(type='MultiView', num_views=[2], transforms=[_base_.view]),
            dict(type='PackInputs')
        ]))

eval_datasets = dict(
    train=dict(
        type='TinyImageNet',
        data_root='data/tiny-imagenet-200',
        pipeline=eval_pipeline),
    test=dict(
        type='TinyImageNet',
        data_root='data/tiny-imagenet-200',
        split='val',
        pipeline=eval_pipeline))
