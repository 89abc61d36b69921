"""MEC on ImageNet-1k: batch 512, table 5b of the paper.

Paper: 70.4 linear (arXiv 2210.11464 table 5b).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/table5/table5_r50_8xb64_100e_in1k.py 8
"""

_base_ = '../paper_r50_8xb128_100e_in1k.py'
gpus, batch_size = 8, 64
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=0.5 * gpus * batch_size / 256))
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
