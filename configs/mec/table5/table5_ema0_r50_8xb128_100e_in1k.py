"""MEC on ImageNet-1k: no EMA, the target shares the weights, table 5d of the paper.

Paper: 69 linear (arXiv 2210.11464 table 5d).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/table5/table5_ema0_r50_8xb128_100e_in1k.py 8
"""

_base_ = '../paper_r50_8xb128_100e_in1k.py'
model = dict(base_momentum=None)
