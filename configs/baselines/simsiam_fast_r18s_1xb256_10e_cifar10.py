"""mmpretrain's SimSiam on CIFAR-10 with a narrow backbone, 10 epochs, views made in batch.

Projector and predictor are those of the recipe for Digits, twice as wide.

Paper: not reported.
Ours: not run; with half of the channels and 1/3 times the learning rate 45.4 linear, 45.5 kNN (k
    = 20), mean of 3 seeds (experiments/cifar10_table).
Run: python tools/train.py configs/baselines/simsiam_fast_r18s_1xb256_10e_cifar10.py
"""

_base_ = 'simclr_fast_r18s_1xb256_10e_cifar10.py'
neck = dict(out_channels=512, with_last_bn=True, with_last_bn_affine=False, with_last_bias=False)
narrow = dict(in_channels=512, hid_channels=128, out_channels=512, with_avg_pool=False)
predictor = dict(_base_.model.neck, **narrow)
head = dict(type='LatentPredictHead', predictor=predictor, loss=dict(type='CosineSimilarityLoss'))
model = dict(type='SimSiam', neck=neck, head=dict(_delete_=True, **head))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
# The learning rate of the predictor stays as it is, without schedule.
fixed = dict(type='SimSiamHook', priority='HIGH', fix_pred_lr=True, adjust_by_epoch=False)
custom_hooks = [dict(fixed, lr=_base_.optim_wrapper.optimizer.lr), *_base_.custom_hooks]
