"""EntRecCont of the predecessor of ER on ImageNet-1k at batch 2048.

Paper: 69 linear (OpenReview UHPva3PuKLN, table 1, 69.7 - 0.7).
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_entrec_cont_r50_8xb256_400e_in1k.py 8
Fewer cards: 1 with optim_wrapper.accumulative_counts=8, 4 with
    optim_wrapper.accumulative_counts=2; batch norm sees the images of an iteration.
"""

_base_ = 'er_simclr_r50_16xb256_400e_in1k.py'
gpus, batch_size = 8, 256
model = dict(head=dict(loss=dict(estimator='joe')))
optim_wrapper = dict(optimizer=dict(lr=0.3 * gpus * batch_size / 256))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
