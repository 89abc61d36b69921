"""All hooks; importing registers them."""

from mmentropy.engine.hooks.entropy_monitor import EntropyMonitorHook
from mmentropy.engine.hooks.exact_resume import ExactResumeHook
from mmentropy.engine.hooks.knn import ChannelsLastHook, CompileHook, KNNHook
from mmentropy.engine.hooks.non_finite import NonFiniteHook
from mmentropy.engine.hooks.ranks import RanksHook
from mmentropy.engine.hooks.resident_images import ResidentImagesHook
from mmentropy.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmentropy.engine.hooks.signals import SignalHook

__all__ = [
    'ChannelsLastHook',
    'CompileHook',
    'EntropyMonitorHook',
    'ExactResumeHook',
    'KNNHook',
    'NonFiniteHook',
    'RanksHook',
    'ResidentImagesHook',
    'SafeCheckpointHook',
    'SignalHook',
]
