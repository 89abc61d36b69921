"""MEC on CIFAR-10 in class folders, on one card, with kNN after each epoch.

The images stay decoded on the card, where the views are made, too; bfloat16, channels_last and a
fused optimiser. check.py says where the images are.

Paper: 89.8 kNN (k = 20) (arXiv 2210.11464 figure 4c, read off by eye, +-0.05).
Ours: not run.
"""

_base_ = '../../configs/mec/fast_r18_1xb1024_600e_cifar10.py'
load = [dict(type='CheckedLoadImageFromFile', color_type='unchanged')]
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='ClassFolders',
        data_root='data/cifar10/train',
        pipeline=[*load, dict(type='PackImage')],
    ),
)
labelled = dict(_delete_=True, type='ClassFolders', pipeline=[*load, dict(type='PackInputs')])
eval_datasets = dict(
    train=dict(labelled, data_root='data/cifar10/train'),
    test=dict(labelled, data_root='data/cifar10/test'),
)
optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(fused=True))
custom_hooks = [
    dict(type='KNNHook', interval=1, k=20, num_workers=8),
    dict(type='ResidentImagesHook'),
    dict(type='ChannelsLastHook'),
]
