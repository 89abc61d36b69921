"""DTD, first split: 3,760 + 1,880 images, 47 classes.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/dtd.py
"""

_base_ = '_base_/eval_224.py'
eval_datasets = dict(
    train=dict(type='DTD', data_root='data/dtd', split='trainval', pipeline=_base_.eval_pipeline),
    test=dict(type='DTD', data_root='data/dtd', split='test', pipeline=_base_.eval_pipeline),
)
