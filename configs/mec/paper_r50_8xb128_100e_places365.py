"""MEC on Places365 as in the paper on ImageNet-1k.

The paper does not state the epochs on Places365; 100 are ours.

Paper: 53.8 linear (arXiv 2210.11464 table 9, epochs not stated).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/paper_r50_8xb128_100e_places365.py 8
"""

_base_ = 'paper_r50_8xb128_100e_in1k.py'
train = dict(type='ClassFolders', data_root='data/places365_standard', data_prefix='train')
views = _base_.train_dataloader.dataset.pipeline
train_dataloader = dict(dataset=dict(train, _delete_=True, on_unreadable='skip', pipeline=views))
eval_datasets = dict(
    train=dict(train, _delete_=True, pipeline=_base_.eval_pipeline),
    test=dict(train, _delete_=True, data_prefix='val', pipeline=_base_.eval_pipeline),
)
