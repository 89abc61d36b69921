# DeepSORT on the public detections of MOT16, with the pooled features of a
# frozen backbone's layer3 as appearance:
#   --cfg-options model.reid.backbone.init_cfg.checkpoint=CHECKPOINT
# and, without appearance, model.reid=None model.tracker.reid=None.
_base_ = ('mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_'
          'mot17halftrain_test-mot17halfval.py')

custom_imports = dict(
    imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

model = dict(
    detector=dict(_delete_=True, type='PublicDetections'),
    reid=dict(
        _delete_=True,
        type='FrozenReID',
        backbone=dict(
            type='mmpretrain.ResNet',
            depth=50,
            out_indices=(2, ),
            init_cfg=dict(type='PretrainedBackbone', checkpoint=''))),
    # Cosine similarity 0.3 of embeddings of length 1, as in UniTrack.
    tracker=dict(reid=dict(match_score_thr=1.4**0.5)))

dataset = dict(
    _delete_=True,
    type='MOTSequences',
    data_root='data/MOT16/train',
    pipeline={{_base_.test_pipeline}})
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(benchmark='MOT16')
test_evaluator = val_evaluator
