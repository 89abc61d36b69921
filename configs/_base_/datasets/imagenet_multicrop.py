# ImageNet-1k in the multi-crop of SwAV: two global views, MoCo v3's with a
# smaller share of the image, and six local ones of 96 x 96.
_base_ = ['imagenet.py']

global_crop = dict(
    type='RandomResizedCrop',
    scale=224,
    crop_ratio_range=(0.14, 1.),
    backend='pillow')
local_view = [
    dict(
        type='RandomResizedCrop',
        scale=96,
        crop_ratio_range=(0.05, 0.14),
        backend='pillow'),
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='ColorJitter',
                brightness=0.8,
                contrast=0.8,
                saturation=0.8,
                hue=0.2)
        ]),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989)),
    dict(
        type='GaussianBlur',
        magnitude_range=(0.1, 2.),
        magnitude_std='inf',
        prob=0.5),
    dict(type='RandomFlip', prob=0.5)
]

train_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='CheckedLoadImageFromFile'),
        dict(
            type='MultiView',
            num_views=[1, 1, 6],
            transforms=[[global_crop, *_base_.view_pipeline1[1:]],
                        [global_crop, *_base_.view_pipeline2[1:]],
                        local_view]),
        dict(type='PackInputs')
    ]))
