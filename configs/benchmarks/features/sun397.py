"""SUN397, first partition: 19,850 + 19,850 images, 397 classes.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/sun397.py
"""

_base_ = '_base_/eval_224.py'
eval_datasets = dict(
    train=dict(
        type='SUN397', data_root='data/SUN397', split='train', pipeline=_base_.eval_pipeline
    ),
    test=dict(type='SUN397', data_root='data/SUN397', split='test', pipeline=_base_.eval_pipeline),
)
