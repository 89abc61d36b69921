# ViTDet, arXiv 2203.16527, with attention over the whole image in all layers:
# facebookresearch/detectron2@02b5c4e2:configs/common/models/
# mask_rcnn_vitdet.py and projects/ViTDet/configs/{common/coco_loader_lsj,
# COCO/mask_rcnn_vitdet_b_100ep}.py. 25 epochs of 4 times the data are 100.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::common/lsj-100e_coco-instance.py'
]

custom_imports = dict(
    imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

size = 1024
norm_cfg = dict(type='mmpretrain.LN2d', eps=1e-6)
model = dict(
    # Every image is padded to one square, in tests as well, so that a position
    # embedding always lies on the same pixels.
    data_preprocessor=dict(pad_size_divisor=size),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MoCoV3ViT',
        arch='base',
        # That of pre-training: the checkpoint fits tensor by tensor, and the
        # forward pass interpolates the position embedding.
        img_size=224,
        patch_size=16,
        out_type='featmap',
        drop_path_rate=0.1,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None)),
    neck=dict(_delete_=True, type='SimpleFeaturePyramid', in_channels=768),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg)))

test_pipeline = list(_base_.test_pipeline)
test_pipeline[1] = dict(type='Resize', scale=(size, size), keep_ratio=True)
train_dataloader = dict(batch_size=8)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    constructor='BackboneLayerDecay',
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.1),
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        norm_decay_mult=0.,
        custom_keys=dict(pos_embed=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=250),
    _base_.param_scheduler[1]
]
