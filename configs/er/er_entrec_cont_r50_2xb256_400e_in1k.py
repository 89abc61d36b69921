"""EntRecCont of the predecessor of ER on ImageNet-1k at batch 512.

Paper: 65.5 linear (OpenReview UHPva3PuKLN, table 1, 69.7 - 4.2).
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_entrec_cont_r50_2xb256_400e_in1k.py 2
"""

_base_ = 'er_simclr_r50_16xb256_400e_in1k.py'
gpus, batch_size = 2, 256
model = dict(head=dict(loss=dict(estimator='joe')))
optim_wrapper = dict(optimizer=dict(lr=0.3 * gpus * batch_size / 256))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
