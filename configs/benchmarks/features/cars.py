"""Stanford Cars: 8,144 + 8,041 images, 196 classes.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/cars.py
"""

_base_ = '_base_/eval_224.py'
eval_datasets = dict(
    train=dict(
        type='StanfordCars',
        data_root='data/Stanford_Cars',
        split='train',
        pipeline=_base_.eval_pipeline,
    ),
    test=dict(
        type='StanfordCars',
        data_root='data/Stanford_Cars',
        split='test',
        pipeline=_base_.eval_pipeline,
    ),
)
