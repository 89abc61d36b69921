"""MinEnt on STL-10 with the SGD and the cosine that its code has as an option.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_sgd_r18_1xb128_2000e_stl10.py
"""

_base_ = 'minent_r18_1xb128_2000e_stl10.py'
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 500, by_epoch=False, end=500),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
