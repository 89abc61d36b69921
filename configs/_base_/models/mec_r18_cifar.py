# arXiv 2210.11464, appendix B: the practice of SimSiam on CIFAR-10.
_base_ = 'mec_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet_CIFAR',
        depth=18,
        norm_cfg=_base_.norm_cfg),
    neck=dict(in_channels=512, num_layers=2),
    head=dict(loss=dict(distortion=0.06)))
