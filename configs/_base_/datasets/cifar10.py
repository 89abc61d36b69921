# CIFAR-10, two views of 32 x 32. The arrays are RGB and PIL and torchvision
# work in RGB; mmpretrain's ColorJitter would take them for BGR.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255])

view = [
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='torchvision/ColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1)
        ]),
    dict(type='torchvision/RandomGrayscale', p=0.1),
    dict(
        type='torchvision/RandomResizedCrop',
        size=32,
        scale=(0.2, 1.),
        interpolation='bicubic'),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5)
]

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='LocalCIFAR10',
        data_root='data/cifar10',
        split='train',
        pipeline=[
            dict(type='NumpyToPIL'),
            dict(type='MultiView', num_views=[2], transforms=[view]),
            dict(type='PackInputs')
        ]))

eval_datasets = dict(
    train=dict(
        type='LocalCIFAR10',
        data_root='data/cifar10',
        split='train',
        pipeline=[dict(type='PackInputs')]),
    test=dict(
        type='LocalCIFAR10',
        data_root='data/cifar10',
        split='test',
        pipeline=[dict(type='PackInputs')]))
