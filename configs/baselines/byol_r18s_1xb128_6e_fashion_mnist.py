# mmpretrain's BYOL on Fashion-MNIST.
_base_ = ['../_base_/fashion_mnist_6e.py', '../_base_/models/byol_r18s.py']

model = dict(
    backbone=dict(zero_init_residual=True), neck=dict(hid_channels=512))
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-4))
