"""MEC on ImageNet-1k: Taylor order 3, table 5e of the paper.

Paper: 70.5 linear (arXiv 2210.11464 table 5e).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/table5/table5_order3_r50_8xb128_100e_in1k.py 8
"""

_base_ = '../paper_r50_8xb128_100e_in1k.py'
model = dict(head=dict(loss=dict(taylor_order=3)))
