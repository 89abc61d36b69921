# MinEnt's training: Adam, 500 iterations of warm-up, two steps down.
_base_ = ['default_runtime.py', 'models/minent_r18.py']

max_epochs = 1000
optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-6))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=500),
    dict(
        type='MultiStepLR',
        milestones=[max_epochs - 50, max_epochs - 25],
        gamma=0.2),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
custom_hooks = [
    dict(type='KNNHook', k=5, metric='euclidean', interval=10)
]
