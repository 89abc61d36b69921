"""Pascal VOC 2007: 5,011 + 4,952 images, several of 20 classes in each.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/voc07.py
"""

_base_ = '_base_/eval_224.py'
# Objects marked as difficult do not count.
pack = dict(type='PackInputs', meta_keys=('gt_label_difficult',))
eval_pipeline = _base_.load + _base_.crop + [pack]
eval_datasets = dict(
    train=dict(type='VOC', data_root='data/VOC2007', split='trainval', pipeline=eval_pipeline),
    test=dict(type='VOC', data_root='data/VOC2007', split='test', pipeline=eval_pipeline),
)
