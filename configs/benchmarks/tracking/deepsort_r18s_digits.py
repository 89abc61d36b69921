"""DeepSORT on clips of digits, for any backbone pre-trained on Digits.

Ours: HOTA 54.0, IDF1 63.4 with MinEnt, seed 0, commit db1007a; more in README.md.
Data: python tools/digits_demos.py mot
Run: python tools/test.py configs/benchmarks/tracking/deepsort_r18s_digits.py
    --cfg-options model.reid.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py'
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

# Model; the base states the tracker
model = dict(
    # Mean and deviation of pre-training.
    data_preprocessor=dict(mean=[77.8], std=[95.7], bgr_to_rgb=False),
    detector=dict(_delete_=True, type='PublicDetections'),
    reid=dict(
        _delete_=True,
        type='FrozenReID',
        backbone=dict(
            type='mmpretrain.ResNet_CIFAR',
            depth=18,
            in_channels=1,
            stem_channels=32,
            base_channels=32,
            num_stages=3,
            strides=(2, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
            zero_init_residual=False,
            norm_cfg=dict(type='BN'),
            init_cfg=dict(type='PretrainedBackbone', checkpoint=''),
        ),
    ),
    # This is the largest distance of an embedding, of length 1, from the mean of a track's last 10.
    # It is UniTrack's cosine similarity of 0.3 where these agree; where they differ, their mean is
    # shorter, and a lower similarity suffices.
    # The size is that of pre-training.
    tracker=dict(reid=dict(match_score_thr=1.4**0.5, img_scale=(16, 16))),
)

# Data
pipeline = [
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(type='LoadImageFromFile', color_type='grayscale'),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='LoadTrackAnnotations'),
            # It turns (H, W) into (H, W, 1).
            dict(type='RandomGrayscale', prob=1.0),
        ],
    ),
    dict(type='PackTrackInputs'),
]
dataset = dict(
    _delete_=True,
    type='MOTSequences',
    data_root='data/digits_mot',
    pipeline=pipeline,
)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(benchmark='MOT16')
test_evaluator = val_evaluator
