"""mmpretrain's SwAV on CIFAR-10 with a narrow backbone, 10 epochs, views made in batch.

It has two views and no queue. Model parts are those of the recipe for Digits, but for a hidden
layer of 512.

Paper: not reported.
Ours: not run; with half of the channels and 3 times the learning rate 52.6 linear, 52.7 kNN (k =
    20), mean of 3 seeds (experiments/cifar10_table).
Run: python tools/train.py configs/baselines/swav_fast_r18s_1xb256_10e_cifar10.py
"""

_base_ = 'simclr_fast_r18s_1xb256_10e_cifar10.py'
neck = dict(type='SwAVNeck', in_channels=128, hid_channels=512, out_channels=128)
size = dict(feat_dim=128, num_prototypes=64, num_crops=[2])
loss = dict(type='SwAVLoss', epsilon=0.02, sinkhorn_iterations=3, temperature=0.1, **size)
model = dict(
    type='SwAV',
    neck=dict(_delete_=True, norm_cfg=_base_.norm_cfg, **neck),
    head=dict(_delete_=True, type='SwAVHead', loss=loss),
)
