_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(
        type='SafeCheckpointHook', interval=10, max_keep_ckpts=2),
    draws=dict(type='ExactResumeHook'),
    bad_images=dict(type='BadImagesHook'),
    numbers=dict(type='NonFiniteHook'),
    ranks=dict(type='RanksHook'),
    signals=dict(type='SignalHook'))
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(seed=0)
