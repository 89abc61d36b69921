# facebookresearch/moco@34020351:detection/{configs/Base-RCNN-C4-BN.yaml,
# train_net.py}: all layers are trained, batch norm spans the GPUs and follows
# C5 once more, and C5, which is in the head, is pre-trained as well.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50-caffe-c4.py'

custom_imports = dict(
    imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

norm_cfg = dict(type='GlobalBN')
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=dict(_delete_=True, **norm_cfg),
        norm_eval=False,
        style='pytorch',
        init_cfg=dict(
            _delete_=True,
            type='PretrainedBackbone',
            checkpoint=None,
            # 258 of the 318 keys of a ResNet-50, the others are those of C5.
            min_match=0.8)),
    roi_head=dict(
        shared_head=dict(
            type='ResLayerWithNorm',
            norm_cfg=dict(_delete_=True, **norm_cfg),
            norm_eval=False,
            style='pytorch',
            init_cfg=dict(type='PretrainedC5', checkpoint=None))),
    # Anchors across the border are trained, as in Detectron2.
    train_cfg=dict(rpn=dict(allowed_border=-1)))
