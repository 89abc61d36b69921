"""MEC on ImageNet-1k: distortion 1.0, table 5c of the paper.

Paper: 69.5 linear (arXiv 2210.11464 table 5c).
Ours: not run.
Run: bash tools/dist_train.sh configs/mec/table5/table5_distortion1_r50_8xb128_100e_in1k.py 8
"""

_base_ = '../paper_r50_8xb128_100e_in1k.py'
model = dict(head=dict(loss=dict(distortion=1.0)))
