"""For your own configs: the loader where BatchViews makes the views, of JPEGs.

Crops of 8 % of an image or more are taken from them. The images are BGR.
"""

photo_loader = dict(
    collate_fn=dict(type='collate_images'),
    dataset=dict(
        pipeline=[dict(type='ReducedLoadImageFromFile', size=224), dict(type='PackImage')]
    ),
)
