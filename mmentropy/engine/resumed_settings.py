"""Settings of a resumed run that differ from those in its checkpoint.

mmengine restores the state of the optimiser and of the schedules, in which learning rate, weight
decay and the length of the schedule are; what the config says of them has no effect then. All
other settings are those of the config.
"""

import re
import warnings
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook, ParamSchedulerHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmentropy.checks.config_differences import config_differences
from mmentropy.checks.config_parts import schedulers_of
from mmentropy.compat.mmengine_checkpoint import handed_over
from mmentropy.weights.stored_config import plain_config

# Where the settings of the optimiser and of the schedules may be taken from.
CHOICES = ('checkpoint', 'config')
# The sections that say how a network is trained.
SECTIONS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'auto_scale_lr',
)
# Below a loader, what changes its speed only.
SPEED = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory')
# The settings that mmengine restores from a checkpoint. Several optimisers have names.
RESTORED = re.compile(
    r'optim_wrapper(\.\w+)?\.(optimizer|paramwise_cfg)\b|param_scheduler\b|auto_scale_lr\b'
)
# The lengths of a training, and whether schedules by epoch end with them.
LENGTHS = {'train_cfg.max_epochs': True, 'train_cfg.max_iters': False}
BATCH = 'train_dataloader.batch_size'


class ResumedSettings(Hook):
    """What a resumed run does where its config differs from that in the checkpoint.

    Args:
        notice: What is logged when training begins; '' for nothing.
        by_config: Whether the settings of the optimiser and the schedules, moved on to the
            iteration of the checkpoint, take the place of those in the checkpoint.
    """

    def __init__(self, notice: str = '', by_config: bool = False) -> None:
        self.notice = notice
        self.by_config = by_config

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self.by_config:
            restore_by_config(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        if self.notice:
            runner.logger.warning(self.notice)


def settle_settings(cfg: Config, choice: str | None = None) -> ResumedSettings:
    """Compare a config that resumes with the config in its checkpoint, and decide what holds.

    Args:
        cfg: A config, the ``load_from`` of which was read by
            :func:`mmentropy.engine.resume.choose_checkpoint`. By the choice 'checkpoint' it gets
            the checkpoint's settings of the optimiser and of the schedules.
        choice: One of CHOICES; needed only where these settings differ.

    Returns:
        A hook for the Runner of the config.

    Raises:
        ValueError: These settings differ, and there is no choice; or the optimiser is another one.
    """
    path = cfg.get('load_from')
    content = handed_over(path) if path and cfg.get('resume') else None
    text = ((content or {}).get('meta') or {}).get('cfg')
    if not isinstance(text, str):
        return ResumedSettings()
    try:
        stored = plain_config(text)
    except ValueError as error:
        return ResumedSettings(f'settings of {path} are not compared with these: {error}')
    found = training_differences(stored, cfg)
    restored = {k: v for k, v in found.items() if RESTORED.match(k)}
    if _schedule_follows_length(cfg):
        restored |= {k: v for k, v in found.items() if k in LENGTHS}
    if (cfg.get('auto_scale_lr') or {}).get('enable') and BATCH in found:
        restored[BATCH] = found[BATCH]
    notices = []
    if others := {k: v for k, v in found.items() if k not in restored}:
        notices.append(f'from now on {_listed(others)} hold(s)')
    if any(key.endswith('.optimizer.type') for key in restored):
        raise ValueError(
            f'{path} has the state of another optimiser, {_listed(restored)}: begin a new run from '
            'its weights with load_from, without --resume'
        )
    if restored and choice is None:
        raise ValueError(
            f'{path} was trained with other settings, {_listed(restored)}: add --resume-settings '
            'config for those of this config, with its schedule moved on to the iteration of the '
            "checkpoint, or --resume-settings checkpoint for the checkpoint's, or begin a new run "
            'from its weights with load_from, without --resume'
        )
    if restored:
        notices.append(f'by --resume-settings {choice} the {choice} decides on {_listed(restored)}')
        if choice == 'checkpoint':
            take_over(cfg, stored)
    notice = f'resuming {path} with another config: {"; ".join(notices)}' if notices else ''
    return ResumedSettings(notice, by_config=bool(restored) and choice == 'config')


def training_differences(stored: Config, cfg: Config) -> dict[str, list[str]]:
    """Return the values of both configs, by dotted path, that change how a network trains."""
    parts = [Config({key: c[key] for key in SECTIONS if c.get(key)}) for c in (stored, cfg)]
    # Where it is off, the learning rate does not depend on it.
    for part in parts:
        if not (part.get('auto_scale_lr') or {}).get('enable'):
            part.pop('auto_scale_lr', None)
    return {
        path: values
        for path, values in config_differences(parts).items()
        if not (path.startswith('train_dataloader.') and path.split('.')[1] in SPEED)
    }


def _listed(found: dict[str, list[str]]) -> str:
    """Return differences as a list for a sentence."""
    texts = [
        f'{path} = {_short(new)} ({_short(old)} in the checkpoint)'
        for path, (old, new) in found.items()
    ]
    more = f' and {len(texts) - 4} more' if len(texts) > 4 else ''
    return ', '.join(texts[:4]) + more


def _short(text: str) -> str:
    text = text or 'absent'
    return text if len(text) <= 60 else f'{text[:57]}...'


def _schedule_follows_length(cfg: Config) -> bool:
    """Return whether a schedule ends with the training, as one does without an end of its own."""
    return any(item.get('end') is None for item in schedulers_of(cfg))


def take_over(cfg: Config, stored: Config) -> None:
    """Let a config say what mmengine will restore, so that what is dumped is what is done."""
    pairs: list[tuple[Any, Any, str]] = [(cfg, stored, 'auto_scale_lr')]
    for mine, theirs in zip(wrappers(cfg.optim_wrapper), wrappers(stored.optim_wrapper)):
        pairs += [(mine, theirs, 'optimizer'), (mine, theirs, 'paramwise_cfg')]
    for section, source, name in pairs:
        section.pop(name, None)
        if source.get(name):
            section[name] = source[name]
    cfg.param_scheduler = stored.get('param_scheduler')
    for item in schedulers_of(cfg):
        for length, by_epoch in LENGTHS.items():
            end = stored.train_cfg.get(length.split('.')[1])
            if item.get('by_epoch', True) == by_epoch and item.get('end') is None and end:
                item['end'] = end


def wrappers(cfg: dict) -> list[dict]:
    """Return the config of a wrapper of one optimiser, or those of several by their names."""
    return (
        [cfg] if 'optimizer' in cfg else [cfg[k] for k in sorted(cfg) if isinstance(cfg[k], dict)]
    )


def restore_by_config(runner: Runner, checkpoint: dict) -> None:
    """Replace the settings of optimiser and schedules in a checkpoint by those of a new Runner.

    Momenta and all other state stay. The Runner's schedules move on to the checkpoint's iteration.

    Raises:
        ValueError: The parameters are grouped otherwise, or there are several optimisers.
    """
    wrapper, groups = runner.optim_wrapper, checkpoint['optimizer'].get('param_groups')
    same = isinstance(wrapper, OptimWrapper) and groups is not None
    if not same or len(groups) != len(wrapper.optimizer.param_groups):
        raise ValueError(
            '--resume-settings config needs one optimiser with the same groups of parameters as '
            'in the checkpoint (optim_wrapper.paramwise_cfg): begin a new run with load_from'
        )
    move_on(runner, checkpoint['meta']['iter'], checkpoint['meta']['epoch'])
    stored = [*groups, checkpoint['optimizer'].get('base_param_settings')]
    fresh = [*wrapper.optimizer.param_groups, wrapper.base_param_settings]
    for old, new in zip(stored, fresh):
        if old is not None and new is not None:
            old.update({key: value for key, value in new.items() if key != 'params'})
    checkpoint['param_schedulers'] = [item.state_dict() for item in runner.param_schedulers or ()]


def move_on(runner: Runner, iterations: int, epochs: int) -> None:
    """Let the schedules of a new Runner be where they are after so many iterations and epochs.

    A run that was stopped after the last batch of an epoch has not counted this epoch yet.
    """
    hook: Any = ParamSchedulerHook()
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    batches = len(runner.train_dataloader) if by_epoch else 0
    with warnings.catch_warnings():
        # torch warns of schedules that step before the optimiser does.
        warnings.simplefilter('ignore')
        for done in range(1, iterations + 1):
            hook.after_train_iter(runner, done)
            if batches and done % batches == 0 and done // batches <= epochs:
                hook.after_train_epoch(runner)
