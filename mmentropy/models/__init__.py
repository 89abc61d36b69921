"""One page per method, and what they share; importing registers all of it."""

from mmentropy.models.backbones import ResNet_CIFAR_Pool
from mmentropy.models.base import PredictorHead
from mmentropy.models.cmc import CMC, CMCHead, TwoEncoders, TwoProjectors
from mmentropy.models.corinfomax import CorInfoMaxLoss
from mmentropy.models.deepcluster import ClusterHead, DeepCluster
from mmentropy.models.dino import DINO, DINOLoss, PrototypeNeck
from mmentropy.models.ema import ForeachEMA
from mmentropy.models.emp_ssl import EMPSSLLoss
from mmentropy.models.er import ER, ERLoss
from mmentropy.models.intl import INTLLoss
from mmentropy.models.joint_embedding import JointEmbedding
from mmentropy.models.lejepa import LeJEPALoss
from mmentropy.models.linear_head import BatchNormLinearClsHead
from mmentropy.models.matrix_entropy import FroSSLLoss, IVNELoss, MMCRLoss
from mmentropy.models.matrix_ssl import MatrixSSL, MatrixSSLLoss
from mmentropy.models.mec import MEC, MECLoss
from mmentropy.models.minent import MinEnt, MinEntHead, MinEntLoss
from mmentropy.models.mlp_neck import MLPNeck
from mmentropy.models.norm import CPUSyncBatchNorm
from mmentropy.models.simdino import SimDINO, SimDINOLoss
from mmentropy.models.vicreg import VICRegLoss
from mmentropy.models.with_objective import WithMEC, WithObjective
