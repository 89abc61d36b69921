"""MEC on ImageNet-1k: no predictor, table 5f of the paper.

Paper: 70.1 linear (arXiv 2210.11464 table 5f).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/table5/table5_symmetric_r50_8xb128_100e_in1k.py 8
"""

_base_ = '../paper_r50_8xb128_100e_in1k.py'
model = dict(head=dict(predictor=None))
