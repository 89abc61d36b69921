"""All hooks; importing them registers them."""

from mmentropy.engine.hooks.bad_images import BadImagesHook
from mmentropy.engine.hooks.channels_last import ChannelsLastHook
from mmentropy.engine.hooks.cluster_labels import ClusterHook, ClusterSampler
from mmentropy.engine.hooks.compare_ranks import RanksHook
from mmentropy.engine.hooks.entropy_monitor import EntropyMonitorHook
from mmentropy.engine.hooks.exact_accumulation import ExactAccumulationHook
from mmentropy.engine.hooks.exact_resume import ExactResumeHook
from mmentropy.engine.hooks.knn_during_training import KNNHook
from mmentropy.engine.hooks.non_finite import NonFiniteHook
from mmentropy.engine.hooks.resident_images import ResidentImagesHook
from mmentropy.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmentropy.engine.hooks.signals import SignalHook
