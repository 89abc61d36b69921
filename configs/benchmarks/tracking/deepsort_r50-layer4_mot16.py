"""DeepSORT on MOT16's public detections; appearance is the pooled layer4 of a frozen backbone.

Paper: IDF1 75.0, HOTA 63.3 (arXiv 2210.11464, by UniTrack: not comparable, see README.md).
Ours: not run.
Run: python tools/test.py configs/benchmarks/tracking/deepsort_r50-layer4_mot16.py
    --cfg-options model.reid.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'deepsort_r50-layer3_mot16.py'
model = dict(reid=dict(backbone=dict(out_indices=(3,))))
