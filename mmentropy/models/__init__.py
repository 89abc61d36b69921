"""One page per method, and what they share; importing registers all of it."""

from mmentropy.models.backbones import ResNet_CIFAR_Pool
from mmentropy.models.cmc import CMC, CMCHead, TwoEncoders, TwoProjectors
from mmentropy.models.deepcluster import ClusterHead, DeepCluster
from mmentropy.models.dino import DINO, DINOLoss, PrototypeNeck
from mmentropy.models.ema import ForeachEMA
from mmentropy.models.er import ER, ERHead, ERLoss
from mmentropy.models.linear_head import BatchNormLinearClsHead
from mmentropy.models.mec import MEC, MECHead, MECLoss
from mmentropy.models.minent import MinEnt, MinEntHead, MinEntLoss
from mmentropy.models.norm import CPUSyncBatchNorm
from mmentropy.models.with_mec import WithMEC
