"""Fine-tuning of a ResNet-50 on 10 % of ImageNet-1k's labels, as in MEC, 4.1.

Paper: 70.3 top-1, 89.7 top-5 after 800 epochs of MEC (arXiv 2210.11464).
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/semi_supervised/r50_8xb128_50e_in1k_10p.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'r50_8xb128_50e_in1k_1p.py'
train_dataloader = dict(dataset=dict(names='data/imagenet/10percent.txt'))
