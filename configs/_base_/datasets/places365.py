# Places365 (standard, easy directory structure) with the views of ImageNet.
_base_ = ['imagenet.py']

train_set = dict(
    _delete_=True,
    type='ClassFolders',
    data_root='data/places365_standard',
    data_prefix='train')

train_dataloader = dict(
    dataset=dict(
        **train_set,
        on_unreadable='skip',
        pipeline=_base_.train_dataloader.dataset.pipeline))

eval_datasets = dict(
    train=dict(**train_set, pipeline=_base_.eval_pipeline),
    test=dict(
        type='ClassFolders',
        data_root='data/places365_standard',
        data_prefix='val',
        pipeline=_base_.eval_pipeline,
        _delete_=True))
