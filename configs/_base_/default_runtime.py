_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=10, max_keep_ckpts=2))
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(seed=0)
