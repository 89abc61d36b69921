"""DeepSORT on MOT16's public detections; appearance is the pooled layer3 of a frozen backbone.

Without appearance: `model.reid=None model.tracker.reid=None`.

Paper: IDF1 72.7, HOTA 61.2 (arXiv 2210.11464, by UniTrack: not comparable, see README.md).
Ours: not run.
Run: python tools/test.py configs/benchmarks/tracking/deepsort_r50-layer3_mot16.py
    --cfg-options model.reid.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py'
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

# Model; the base states the tracker
model = dict(
    detector=dict(_delete_=True, type='PublicDetections'),
    reid=dict(
        _delete_=True,
        type='FrozenReID',
        backbone=dict(
            type='mmpretrain.ResNet',
            depth=50,
            out_indices=(2,),
            init_cfg=dict(type='PretrainedBackbone', checkpoint=''),
        ),
    ),
    # This is the largest distance of an embedding, of length 1, from the mean of a track's last 10.
    # It is UniTrack's cosine similarity of 0.3 where these agree; where they differ, their mean is
    # shorter, and a lower similarity suffices.
    tracker=dict(reid=dict(match_score_thr=1.4**0.5)),
)

# Data
dataset = dict(
    _delete_=True,
    type='MOTSequences',
    data_root='data/MOT16/train',
    pipeline={{_base_.test_pipeline}},
)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(benchmark='MOT16')
test_evaluator = val_evaluator
