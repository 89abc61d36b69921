# The same for ViT-S of MoCo v3. MEC does not say how it probed ViTs.
_base_ = 'r50_8xb512_100e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True, type='MoCoV3ViT', arch='mocov3-small', img_size=224,
        patch_size=16, frozen_stages=12, norm_eval=True,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None)),
    neck=None, head=dict(in_channels=384))
