# ImageNet-100, two views of 224 x 224, in RGB as Tiny ImageNet.
_base_ = ['tiny_imagenet.py']

data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

view = [
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='torchvision/ColorJitter',
                brightness=0.8,
                contrast=0.8,
                saturation=0.8,
                hue=0.2)
        ]),
    dict(type='torchvision/RandomGrayscale', p=0.2),
    dict(
        type='torchvision/RandomResizedCrop',
        size=224,
        scale=(0.08, 1.),
        interpolation='bicubic'),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
    # The blur is mmpretrain's, which takes arrays; it treats channels alike.
    dict(type='PILToNumpy'),
    dict(
        type='GaussianBlur',
        magnitude_range=(0.1, 2.),
        magnitude_std='inf',
        prob=0.5)
]

train_dataloader = dict(
    num_workers=8,
    dataset=dict(
        type='ImageNet100',
        data_root='data/imagenet',
        pipeline=[
            *_base_.load,
            dict(type='MultiView', num_views=[2], transforms=[view]),
            dict(type='PackInputs')
        ]))

eval_pipeline = [
    *_base_.load,
    dict(type='torchvision/Resize', size=256),
    dict(type='torchvision/CenterCrop', size=224),
    dict(type='PackInputs')
]
eval_datasets = dict(
    train=dict(
        type='ImageNet100', data_root='data/imagenet', pipeline=eval_pipeline),
    test=dict(
        type='ImageNet100', data_root='data/imagenet', pipeline=eval_pipeline))
