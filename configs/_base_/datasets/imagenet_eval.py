# Both labelled sets of ImageNet-1k, as kNN and linear probe see them.
eval_pipeline = [
    dict(type='CheckedLoadImageFromFile'),
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
eval_datasets = dict(
    train=dict(
        type='ImageNet1k',
        data_root='data/imagenet/',
        split='train',
        pipeline=eval_pipeline),
    test=dict(
        type='ImageNet1k',
        data_root='data/imagenet/',
        split='val',
        pipeline=eval_pipeline))
