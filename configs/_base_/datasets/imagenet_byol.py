# The views of BYOL, and of MoCo v3 for ViTs: those of imagenet.py, cropped
# from 8 % of the image on.
_base_ = 'imagenet.py'

first, second = _base_.view_pipeline1, _base_.view_pipeline2
first[0].crop_ratio_range = second[0].crop_ratio_range = (0.08, 1.)
train_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='CheckedLoadImageFromFile'),
        dict(
            type='MultiView',
            num_views=[1, 1],
            transforms=[first, second]),
        dict(type='PackInputs')
    ]))
