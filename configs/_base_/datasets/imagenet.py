# ImageNet-1k with the two different views of MoCo v3, which MEC's code uses.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs512_mocov3.py'

train_dataloader = dict(
    drop_last=True, collate_fn=dict(type='default_collate'))

eval_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge', scale=256, edge='short', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
eval_datasets = dict(
    train=dict(
        type='ImageNet',
        data_root='data/imagenet/',
        split='train',
        pipeline=eval_pipeline),
    test=dict(
        type='ImageNet',
        data_root='data/imagenet/',
        split='val',
        pipeline=eval_pipeline))
