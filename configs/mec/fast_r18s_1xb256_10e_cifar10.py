"""MEC on CIFAR-10 with a narrow backbone, 10 epochs, views made in batch.

Projector and predictor are those of the recipe for Digits, twice as wide.

Paper: not reported.
Ours: 57.85 linear, 56.51 kNN (k = 20); seed 0, commit df478f2e62, 24 CPU minutes; with half of
    the channels and 3 times the learning rate 52.7 linear, 53.6 kNN (k = 20), mean of 3 seeds
    (experiments/cifar10_table).
Run: python tools/train.py configs/mec/fast_r18s_1xb256_10e_cifar10.py --amp bfloat16, images as
    JPEG
"""

_base_ = '../baselines/simclr_fast_r18s_1xb256_10e_cifar10.py'
neck = dict(out_channels=512, with_last_bn=True, with_last_bn_affine=False, with_last_bias=False)
narrow = dict(in_channels=512, hid_channels=128, out_channels=512, with_avg_pool=False)
predictor = dict(_base_.model.neck, **narrow)
terms = dict(distortion=0.06, taylor_order=4, warmup=0.1, warmup_factor=8.0)
loss = dict(type='MECLoss', **terms, guard=True, max_norm=0.9)
head = dict(_delete_=True, type='MECHead', predictor=predictor, loss=loss)
# EMA 0.9 to 1
model = dict(type='MEC', base_momentum=0.1, neck=neck, head=head)
