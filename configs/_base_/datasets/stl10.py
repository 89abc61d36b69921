# STL-10: the view of CIFAR-10 at 64 x 64, from labelled and unlabelled images.
_base_ = ['cifar10.py']

data_preprocessor = dict(mean=[109.65, 107.1, 99.45], std=[68.85, 66.3, 68.85])

view = [
    *_base_.view[:2],
    dict(
        type='torchvision/RandomResizedCrop',
        size=64,
        scale=(0.2, 1.),
        interpolation='bicubic'), _base_.view[3]
]

train_dataloader = dict(
    dataset=dict(
        type='STL10',
        data_root='data/stl10',
        split='train+unlabeled',
        pipeline=[
            dict(type='NumpyToPIL'),
            dict(type='MultiView', num_views=[2], transforms=[view]),
            dict(type='PackInputs')
        ]))

eval_pipeline = [
    dict(type='NumpyToPIL'),
    dict(type='torchvision/Resize', size=70, interpolation='bicubic'),
    dict(type='torchvision/CenterCrop', size=64),
    dict(type='PackInputs')
]
eval_datasets = dict(
    train=dict(type='STL10', data_root='data/stl10', pipeline=eval_pipeline),
    test=dict(type='STL10', data_root='data/stl10', pipeline=eval_pipeline))
