"""For your own configs: the loader where BatchViews makes the views, of images that are arrays."""

array_loader = dict(
    collate_fn=dict(type='collate_images'), dataset=dict(pipeline=[dict(type='PackImage')])
)
