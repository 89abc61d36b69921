# mmpretrain's SimSiam on Digits, with projector and predictor of MEC.
_base_ = ['../_base_/digits_50e.py', '../_base_/models/mec_r18s.py']

model = dict(
    _delete_=True,
    type='SimSiam',
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    head=dict(
        type='LatentPredictHead',
        predictor=_base_.model.head.predictor,
        loss=dict(type='CosineSimilarityLoss')))
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.25, momentum=0.9, weight_decay=1e-4))
