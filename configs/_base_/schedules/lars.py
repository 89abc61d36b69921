# LARS without decay or adaptation of biases and batch norms.
_base_ = 'cosine.py'

plain = dict(decay_mult=0, lars_exclude=True)
optim_wrapper = dict(
    optimizer=dict(type='LARS', momentum=0.9),
    paramwise_cfg=dict(
        # `downsample.1` is the batch norm of a ResNet's shortcut.
        custom_keys={
            'bn': plain,
            'bias': plain,
            'downsample.1': plain
        }))
