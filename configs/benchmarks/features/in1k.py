# ImageNet-1k: 1,281,167 + 50,000 images, 1,000 classes.
_base_ = '../../_base_/datasets/imagenet_eval.py'
