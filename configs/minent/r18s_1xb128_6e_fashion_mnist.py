# MinEnt on Fashion-MNIST.
_base_ = ['../_base_/fashion_mnist_6e.py', '../_base_/models/r18s.py']

model = dict(
    type='MinEnt',
    backbone=dict(zero_init_residual=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MinEntHead',
        in_channels=128,
        hid_channels=512,
        out_channels=[512, 256, 128, 64, 32, 16],
        loss=dict(type='MinEntLoss', norm='batch')))
optim_wrapper = dict(optimizer=dict(type='Adam', lr=3e-3, weight_decay=1e-6))
