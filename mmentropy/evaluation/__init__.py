"""Measure a backbone: frozen by kNN, linear probe and SVM, or fine-tuned."""

from mmentropy.evaluation.features import DIFFICULT, extract_features, pixel_features
from mmentropy.evaluation.finetune import finetune_accuracy
from mmentropy.evaluation.from_config import build_backbone, build_data_preprocessor, eval_datasets
from mmentropy.evaluation.knn import METRICS, build_knn_data, knn_accuracy, knn_predict, model_knn
from mmentropy.evaluation.linear import LinearProbe, linear_probe
from mmentropy.evaluation.minent_linear import minent_linear_probe
from mmentropy.evaluation.protocols import PROTOCOLS, evaluate_checkpoint, parse_protocols
from mmentropy.evaluation.svm import low_shot, svm_score
from mmentropy.evaluation.voc import VOC07AveragePrecision, voc07_ap
