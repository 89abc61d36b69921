# The loader where BatchViews makes the views, of JPEGs from which crops of 8 %
# or more are taken. It gives BGR.
photo_loader = dict(
    collate_fn=dict(type='collate_images'),
    dataset=dict(
        pipeline=[dict(type='ReducedLoadImageFromFile', size=224), dict(type='PackImage')]
    ),
)
