"""Oxford-IIIT Pets: 3,680 + 3,669 images, 37 classes.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/pets.py
"""

_base_ = '_base_/eval_224.py'
eval_datasets = dict(
    train=dict(
        type='OxfordIIITPet',
        data_root='data/Oxford-IIIT_Pets',
        split='trainval',
        pipeline=_base_.eval_pipeline,
    ),
    test=dict(
        type='OxfordIIITPet',
        data_root='data/Oxford-IIIT_Pets',
        split='test',
        pipeline=_base_.eval_pipeline,
    ),
)
