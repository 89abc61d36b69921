"""Measure frozen features: kNN and linear probe."""
from .features import extract_features, pixel_features
from .knn import METRICS, knn_accuracy, knn_predict
from .linear import LinearProbe, linear_probe
from .protocols import (
                        PROTOCOLS,
                        build_backbone,
                        build_data_preprocessor,
                        eval_datasets,
                        evaluate_checkpoint,
                        parse_protocols,
)

__all__ = [
    'METRICS', 'PROTOCOLS', 'LinearProbe', 'build_backbone',
    'build_data_preprocessor', 'eval_datasets', 'evaluate_checkpoint',
    'extract_features', 'knn_accuracy', 'knn_predict', 'linear_probe',
    'parse_protocols', 'pixel_features'
]
