# RetinaNet. Its schedule and scale are mmdet's, batch norm spans all GPUs in
# the backbone and the neck; the head, which all levels share, has none.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

custom_imports = dict(
    imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

norm_cfg = dict(type='GlobalBN')
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(
            _delete_=True, type='PretrainedBackbone', checkpoint=None)),
    neck=dict(norm_cfg=norm_cfg))
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.))
