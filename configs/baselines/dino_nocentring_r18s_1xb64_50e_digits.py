# DINO without centring, which collapses.
_base_ = 'dino_r18s_1xb64_50e_digits.py'

model = dict(center_momentum=None)
