"""MinEnt on STL-10 with one head.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_onehead_r18_1xb128_2000e_stl10.py
"""

_base_ = 'minent_r18_1xb128_2000e_stl10.py'
model = dict(head=dict(out_channels=128))
