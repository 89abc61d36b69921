# SimSiam's on CIFAR-10: SGD, a cosine without warm-up; kNN every 20 epochs.
optim_wrapper = dict(
    optimizer=dict(type='SGD', momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='CosineAnnealingLR', convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200)
custom_hooks = [dict(type='KNNHook', interval=20)]
