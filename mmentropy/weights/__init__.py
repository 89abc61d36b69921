"""Checkpoints in and out; importing it registers the initialiser ``PretrainedBackbone``."""

from mmentropy.weights import pretrained_backbone
