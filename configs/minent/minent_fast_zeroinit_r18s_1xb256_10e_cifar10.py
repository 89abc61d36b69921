"""MinEnt on CIFAR-10 for 10 epochs as minent_fast_r18s_*, but begun as mmpretrain begins a ResNet.

The last batch norm of each block is at 0 and the stem is drawn as all other convolutions.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_fast_zeroinit_r18s_1xb256_10e_cifar10.py
"""

_base_ = 'minent_fast_r18s_1xb256_10e_cifar10.py'
model = dict(
    backbone=dict(
        zero_init_residual=True,
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    )
)
