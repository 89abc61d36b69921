# mmpretrain's SimSiam on Fashion-MNIST, with projector and predictor of MEC.
_base_ = ['../_base_/fashion_mnist_6e.py', '../_base_/models/mec_r18s.py']

model = dict(
    _delete_=True,
    type='SimSiam',
    backbone=dict(_base_.model.backbone, zero_init_residual=True),
    neck=dict(_base_.model.neck, hid_channels=512, out_channels=512),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(
            _base_.model.head.predictor,
            in_channels=512,
            hid_channels=128,
            out_channels=512),
        loss=dict(type='CosineSimilarityLoss')))
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.25, momentum=0.9, weight_decay=1e-4))
