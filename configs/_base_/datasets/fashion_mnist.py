# Fashion-MNIST, two views of 28 x 28 with one channel: crop, flip, light.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor', mean=[72.94], std=[90.02])

train_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='LocalFashionMNIST',
        data_root='data/fashion_mnist',
        split='train',
        pipeline=[
            dict(type='NumpyToPIL'),
            dict(
                type='MultiView',
                num_views=[2],
                transforms=[[
                    dict(
                        type='RandomApply',
                        prob=0.8,
                        transforms=[
                            dict(
                                type='torchvision/ColorJitter',
                                brightness=0.4,
                                contrast=0.4)
                        ]),
                    dict(
                        type='torchvision/RandomResizedCrop',
                        size=28,
                        scale=(0.2, 1.),
                        interpolation='bicubic'),
                    dict(type='torchvision/RandomHorizontalFlip', p=0.5)
                ]]),
            dict(type='PackInputs')
        ]))

eval_datasets = dict(
    train=dict(
        type='LocalFashionMNIST',
        data_root='data/fashion_mnist',
        split='train',
        pipeline=[dict(type='PackInputs')]),
    test=dict(
        type='LocalFashionMNIST',
        data_root='data/fashion_mnist',
        split='test',
        pipeline=[dict(type='PackInputs')]))
