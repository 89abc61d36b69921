"""Alarms about features that collapse, each given once."""

import math
from copy import deepcopy
from typing import Any

from mmengine.runner import Runner
from torch import nn

from mmentropy.functional.diagnostics import point_entropy

# An alarm is given when its sign is there in so many measurements in a row. This number and the
# bounds below lie between those of healthy runs and those of runs that collapse on purpose; see
# benchmarks/monitor/results.md.
PATIENCE = 3
# A feature_std below this is a total collapse; isotropic features have 1.
COLLAPSED_STD = 0.02
# RankMe below this share of the highest so far is a dimensional collapse.
RANK_SHARE = 0.05
# So is an entropy that exceeds that of one point by less than this share of the highest excess.
ENTROPY_SHARE = 0.1
# Features below this share of their greatest length shrink to a point, which an objective of
# directions does not see.
LENGTH_SHARE = 0.05
# A head whose target_entropy, a share of the largest possible, is below this uses few classes.
DEAD_TARGETS = 0.2
# Prototypes with an assignment_entropy below this are used unevenly.
DEAD_PROTOTYPES = 0.3
# The message of an alarm, by the kind of sign that raised it.
MESSAGES = dict(
    collapse='total collapse: feature_std of {name} is {std:.4f} (1 is isotropic, 0 one point, '
    f'alarm below {COLLAPSED_STD}); check that the target is detached and the predictor there, '
    'raise the batch, lower the learning rate',
    rank='dimensional collapse: RankMe of {name} fell from {best:.1f} to {rank:.1f} (alarm below '
    f'{RANK_SHARE:g} of the highest); lower the learning rate or weight decay, weaken the '
    'augmentation, widen the projector',
    entropy='falling entropy: {name} has {excess:.2f} nats more than one point, at best {best:.2f} '
    f'(alarm below {ENTROPY_SHARE:g} of it); weigh the entropy term more or raise the batch',
    length='shrinking features: {name} has a length of {length:.3g}, at most {best:.3g} before '
    f'(alarm below {LENGTH_SHARE:g} of it); weigh the term of their spread more, or lower the '
    'weight decay',
    prototypes='dead prototypes: assignment_entropy of {name} is {used:.3f} (1 is balanced, alarm '
    f'below {DEAD_PROTOTYPES:g}); centre the targets, take ERLoss in place of DINOLoss, or lower '
    'the learning rate',
    heads='dead classes: of {count} heads of MinEnt {dead} use few, target_entropy {numbers} (1 is '
    f"balanced, alarm below {DEAD_TARGETS:g}); use norm='batch', raise the batch or lower the "
    'number of classes',
    diverges='spectral_norm of MEC is {norm:.2f} on average, above 1, where its Taylor series '
    'diverges; set guard=True or raise the distortion',
    finite='{name} is not finite; lower the learning rate, warm it up longer, clip the gradient, '
    'or replace fp16 by bf16',
)


class Alarms:
    """Signs of a sick run, each reported once, when it was there ``PATIENCE`` times in a row.

    A sign is reported for the backbone or the projector, whether the held-out batch or that of
    training shows it first.
    """

    def __init__(self) -> None:
        self.highest: dict[str, float] = {}
        self.sights: dict[str, int] = {}
        self.reported: list[str] = []
        self.pending: list[str] = []

    def state(self) -> dict:
        """Return what a resumed run has to know."""
        state = dict(highest=self.highest, sights=self.sights, reported=self.reported)
        return deepcopy(state)

    def load(self, state: dict) -> None:
        """Go on from a :meth:`state`, or from an empty dict."""
        vars(self).update(Alarms().state() | deepcopy(state))

    def given(self) -> list[str]:
        """Return the alarms that were not returned before."""
        pending, self.pending = self.pending, []
        return pending

    def look(self, name: str, found: dict[str, float], dim: int) -> None:
        """Look at the metrics ``found`` of features ``name`` of width ``dim``."""
        std, rank = found['feature_std'], found['rankme']
        self._sign(name, 'collapse', std < COLLAPSED_STD, std=std)
        best = self._highest(f'{name} rank', rank)
        self._sign(name, 'rank', rank < RANK_SHARE * best, rank=rank, best=best)
        excess = found['entropy'] - point_entropy(dim)
        best = self._highest(f'{name} entropy', excess)
        fell = 0 < best and excess < ENTROPY_SHARE * best
        self._sign(name, 'entropy', fell, excess=excess, best=best)
        length = found['feature_length']
        best = self._highest(f'{name} length', length)
        self._sign(name, 'length', length < LENGTH_SHARE * best, length=length, best=best)
        used = found.get('assignment_entropy', 1.0)
        self._sign(name, 'prototypes', used < DEAD_PROTOTYPES, used=used)
        heads = {key: value for key, value in found.items() if key.endswith('_target_entropy')}
        dead = {key: value for key, value in heads.items() if value < DEAD_TARGETS}
        numbers = ', '.join(f'{value:.3f} of {key.split("_")[0]}' for key, value in dead.items())
        self._sign(name, 'heads', bool(dead), count=len(heads), dead=len(dead), numbers=numbers)

    def look_at_log(self, runner: Runner, model: nn.Module, window: int) -> None:
        """Look at what the algorithm itself logged in the last ``window`` iterations."""
        history = runner.message_hub.log_scalars
        # No loss is logged while all iterations were left out, and no norm but by MEC.
        loss, norm = (
            float(history[name].mean(window)) if name in history else 0.0
            for name in ('train/loss', 'train/spectral_norm')
        )
        if not math.isfinite(loss):
            self.not_finite('train/loss')
        guarded = any(getattr(m, 'guard', False) for m in model.modules())
        self._sign('train/spectral_norm', 'diverges', norm > 1 and not guarded, norm=norm)

    def not_finite(self, name: str) -> None:
        """Report numbers that are not finite, without patience."""
        self.sights[f'{name} finite'] = PATIENCE - 1
        self._sign(name, 'finite', True)

    def _highest(self, key: str, value: float) -> float:
        self.highest[key] = max(value, self.highest.get(key, value))
        return self.highest[key]

    def _sign(self, name: str, kind: str, seen: bool, **numbers: Any) -> None:
        key = f'{name} {kind}'
        self.sights[key] = self.sights.get(key, 0) + 1 if seen else 0
        report = f'{name.split("/")[1]} {kind}'
        if self.sights[key] >= PATIENCE and report not in self.reported:
            self.reported.append(report)
            self.pending.append(MESSAGES[kind].format(name=name, **numbers))
