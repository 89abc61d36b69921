"""mmpretrain's BYOL on CIFAR-10 with a narrow backbone, 10 epochs, views made in batch.

Model parts are those of the recipe for Digits, but for hidden layers of 512.

Paper: not reported.
Ours: not run; with half of the channels and 1 times the learning rate 46.1 linear, 47 kNN (k =
    20), mean of 3 seeds (experiments/cifar10_table).
Run: python tools/train.py configs/baselines/byol_fast_r18s_1xb256_10e_cifar10.py
"""

_base_ = 'simclr_fast_r18s_1xb256_10e_cifar10.py'
predictor = dict(_base_.model.neck, in_channels=128, with_avg_pool=False)
head = dict(type='LatentPredictHead', predictor=predictor, loss=dict(type='CosineSimilarityLoss'))
model = dict(
    type='BYOL',
    base_momentum=0.05,  # EMA 0.95 to 1
    head=dict(_delete_=True, **head),
)
