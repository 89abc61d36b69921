"""Mask R-CNN on a plain ViT-B and COCO: ViTDet, arXiv 2203.16527.

Attention spans the whole image in all layers. facebookresearch/detectron2@02b5c4e2:
configs/common/models/mask_rcnn_vitdet.py and
projects/ViTDet/configs/{common/coco_loader_lsj,COCO/mask_rcnn_vitdet_b_100ep}.py.

Paper: not reported by MEC.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_vitb_8xb8_100e_coco.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::common/lsj-100e_coco-instance.py',
]
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)
size = 1024

# Model; the base states the rest of it
norm_cfg = dict(type='mmpretrain.LN2d', eps=1e-6)
model = dict(
    # Every image is padded to one square, in tests as well, so that a position
    # embedding always lies on the same pixels.
    data_preprocessor=dict(pad_size_divisor=size),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MoCoV3ViT',
        arch='base',
        # The size of pre-training: the checkpoint fits tensor by tensor, and the
        # forward pass interpolates the position embedding.
        img_size=224,
        patch_size=16,
        out_type='featmap',
        drop_path_rate=0.1,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None),
    ),
    neck=dict(_delete_=True, type='SimpleFeaturePyramid', in_channels=768),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)

# Data: COCO with large-scale jitter, which the base states
test_pipeline = list(_base_.test_pipeline)
test_pipeline[1] = dict(type='Resize', scale=(size, size), keep_ratio=True)
train_dataloader = dict(batch_size=8)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# Optimiser and schedule; the 25 epochs of the base pass 4 times over the data, which is 100
optim_wrapper = dict(
    constructor='BackboneLayerDecay',
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.1),
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        norm_decay_mult=0.0,
        custom_keys=dict(pos_embed=dict(decay_mult=0.0)),
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=250),
    _base_.param_scheduler[1],
]
