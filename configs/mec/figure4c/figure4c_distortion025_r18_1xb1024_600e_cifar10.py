"""MEC on CIFAR-10: distortion 0.25, figure 4c of the paper.

Paper: 89.75 linear, 89.05 kNN (k = 20) (arXiv 2210.11464 figure 4c, read off by eye, +-0.05).
Ours: not run.
Run: python tools/train.py configs/mec/figure4c/figure4c_distortion025_r18_1xb1024_600e_cifar10.py
"""

_base_ = '../r18_1xb1024_600e_cifar10.py'
model = dict(head=dict(loss=dict(distortion=0.25)))
