"""CorInfoMax on CIFAR-10 with a narrow backbone, 10 epochs, views made in batch.

Paper: not reported.
Ours: not run; with half of the channels and 9 times the learning rate 57.3 linear, 59 kNN (k =
    20), mean of 3 seeds (experiments/cifar10_table).
Run: python tools/train.py configs/family/corinfomax_fast_r18s_1xb256_10e_cifar10.py
"""

_base_ = 'vicreg_fast_r18s_1xb256_10e_cifar10.py'
# A running covariance has rank only if its width is below the batch.
width = 64
loss = dict(type='CorInfoMaxLoss', invariance=250.0, spread=1.0, momentum=0.01, eps=1e-8)
model = dict(neck=dict(out_channels=width), head=dict(_delete_=True, in_channels=width, **loss))
