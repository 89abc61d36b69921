"""FGVC-Aircraft: 6,667 + 3,333 images, 100 variants.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/aircraft.py
"""

_base_ = '_base_/eval_224.py'
eval_datasets = dict(
    train=dict(
        type='FGVCAircraft',
        data_root='data/fgvc-aircraft-2013b',
        split='trainval',
        pipeline=_base_.eval_pipeline,
    ),
    test=dict(
        type='FGVCAircraft',
        data_root='data/fgvc-aircraft-2013b',
        split='test',
        pipeline=_base_.eval_pipeline,
    ),
)
