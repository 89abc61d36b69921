# A folder of unlabelled images, two views of 224 x 224 as in MoCo v3: the
# first always blurred, the second now and then blurred or solarised. Files
# are loaded as BGR, in which mmpretrain's transforms work; the weights of
# RandomGrayscale are in that order, mean and std in RGB after `to_rgb`.
data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    drop_last=True,
    dataset=dict(
        type='ImageFolder',
        data_root='data/images',
        pipeline=[
            dict(type='CheckedLoadImageFromFile', imdecode_backend='pillow'),
            dict(
                type='MultiView',
                num_views=[1, 1],
                transforms=[
                    [
                        dict(
                            type='RandomResizedCrop',
                            scale=224,
                            crop_ratio_range=(0.2, 1.),
                            backend='pillow'),
                        dict(
                            type='RandomApply',
                            prob=0.8,
                            transforms=[
                                dict(
                                    type='ColorJitter',
                                    brightness=0.4,
                                    contrast=0.4,
                                    saturation=0.2,
                                    hue=0.1,
                                    backend='cv2')
                            ]),
                        dict(
                            type='RandomGrayscale',
                            prob=0.2,
                            keep_channels=True,
                            channel_weights=(0.114, 0.587, 0.299)),
                        dict(
                            type='GaussianBlur',
                            magnitude_range=(0.1, 2.),
                            magnitude_std='inf',
                            prob=1.),
                        dict(type='RandomFlip', prob=0.5)
                    ],
                    [
                        dict(
                            type='RandomResizedCrop',
                            scale=224,
                            crop_ratio_range=(0.2, 1.),
                            backend='pillow'),
                        dict(
                            type='RandomApply',
                            prob=0.8,
                            transforms=[
                                dict(
                                    type='ColorJitter',
                                    brightness=0.4,
                                    contrast=0.4,
                                    saturation=0.2,
                                    hue=0.1,
                                    backend='cv2')
                            ]),
                        dict(
                            type='RandomGrayscale',
                            prob=0.2,
                            keep_channels=True,
                            channel_weights=(0.114, 0.587, 0.299)),
                        dict(
                            type='GaussianBlur',
                            magnitude_range=(0.1, 2.),
                            magnitude_std='inf',
                            prob=0.1),
                        dict(type='Solarize', thr=128, prob=0.2),
                        dict(type='RandomFlip', prob=0.5)
                    ]
                ]),
            dict(type='PackInputs')
        ]))
