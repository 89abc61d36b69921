"""Food-101: 75,750 + 25,250 images, 101 classes.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/food101.py
"""

_base_ = '_base_/eval_224.py'
eval_datasets = dict(
    train=dict(
        type='Food101', data_root='data/food-101', split='train', pipeline=_base_.eval_pipeline
    ),
    test=dict(
        type='Food101', data_root='data/food-101', split='test', pipeline=_base_.eval_pipeline
    ),
)
