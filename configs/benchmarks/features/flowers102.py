# Flowers-102: 2,040 + 6,149 images, 102 classes.
_base_ = '_base_/eval_224.py'

eval_datasets = dict(
    train=dict(
        type='Flowers102',
        data_root='data/Flowers102',
        split='trainval',
        pipeline=_base_.eval_pipeline),
    test=dict(
        type='Flowers102',
        data_root='data/Flowers102',
        split='test',
        pipeline=_base_.eval_pipeline))
