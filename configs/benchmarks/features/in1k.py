"""ImageNet-1k: 1,281,167 + 50,000 images, 1,000 classes.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/in1k.py
"""

eval_pipeline = [
    dict(type='CheckedLoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', interpolation='bicubic', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
eval_datasets = dict(
    train=dict(
        type='ImageNet1k', data_root='data/imagenet/', split='train', pipeline=eval_pipeline
    ),
    test=dict(type='ImageNet1k', data_root='data/imagenet/', split='val', pipeline=eval_pipeline),
)
