"""Caltech-101, mmpretrain's split: 3,060 + 6,728 images, 102 classes.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/caltech101.py
"""

_base_ = '_base_/eval_224.py'
eval_datasets = dict(
    train=dict(
        type='Caltech101',
        data_root='data/caltech-101',
        split='train',
        pipeline=_base_.eval_pipeline,
    ),
    test=dict(
        type='Caltech101', data_root='data/caltech-101', split='test', pipeline=_base_.eval_pipeline
    ),
)
