"""Settings that would be read by nobody, refused before anything is built."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine import registry as roots
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim.scheduler.param_scheduler import ReduceOnPlateauParamScheduler
from mmengine.runner import IterBasedTrainLoop, ValLoop
from mmpretrain.models.selfsup import BaseSelfSupervisor

from mmentropy.checks.config import HOOKS, OUR_HOOKS, PLAIN, SECTIONS, find_type
from mmentropy.checks.config_parts import dicts_in, schedulers_of

# The runner_type of sharded training.
SHARDED = 'ShardedRunner'
# Settings of mmcv 1, and what has their meaning now.
FORMER = dict(
    checkpoint_config='default_hooks.checkpoint',
    evaluation='val_cfg and val_evaluator',
    fp16="optim_wrapper.type='AmpOptimWrapper'",
    log_config='default_hooks.logger',
    lr_config='param_scheduler',
    optimizer_config='optim_wrapper',
    resume_from='resume and load_from',
    total_epochs='train_cfg.max_epochs',
)
KEEP_MEASURING = (
    "set val_cfg=dict(type='HeldOutLoop'), val_evaluator=[] and val_dataloader for a loss of "
    'held-out images and kNN, see docs/data.md'
)


def check_ignored(cfg: Config) -> None:
    """Raise for the first setting of a config with which training would do nothing.

    Raises:
        ValueError: in one line, which begins with the path of the setting.
    """
    top = dict(cfg)
    runner = top.get('runner_type')
    if runner not in (None, 'Runner', SHARDED):
        raise ValueError(
            f'runner_type: {runner!r} is not supported: remove it, and strategy with it, for '
            f"mmengine's Runner; {SHARDED!r} shares weights and optimiser state out over ranks"
        )
    if top.get('strategy') is not None:
        raise ValueError(
            'strategy: only a FlexibleRunner reads it, which is not supported here; '
            f'runner_type={SHARDED!r} shares weights and optimiser state out over ranks'
        )
    if runner == SHARDED and top.get('model_wrapper_cfg') is not None:
        raise ValueError(f'model_wrapper_cfg: a {SHARDED} shards the model and reads no wrapper')
    if 'default_hooks' in top and top['default_hooks'] is None:
        raise ValueError(
            'default_hooks: None would leave out every hook that keeps a run safe: set those that '
            'are not wanted to None, such as default_hooks.signals=None'
        )
    check_places(top)
    if top.get('train_cfg'):
        scope = top.get('default_scope') or 'mmengine'
        check_units(top, scope)
        check_validation(top, scope)


def check_places(top: dict) -> None:
    """Refuse hooks outside of ``default_hooks`` and settings of mmcv 1."""
    used = [value for name in (*SECTIONS, *PLAIN) for value in dicts_in(top.get(name))]
    hooks = {name: f'default_hooks.{name}' for name in (*HOOKS, *OUR_HOOKS)}
    for name, place in (FORMER | hooks).items():
        value = top.get(name)
        # A variable of the file may have the same name.
        is_variable = value in used if isinstance(value, dict) else name in hooks
        if value and not is_variable:
            raise ValueError(f'{name}: is not read at the top of a config; it belongs into {place}')


def check_units(top: dict, scope: str) -> None:
    """Refuse to count epochs in what does something, where training counts iterations."""
    train_cfg = top['train_cfg']
    kind = find_type(train_cfg.get('type'), roots.LOOPS, scope)
    by_epoch = train_cfg.get('by_epoch', True) if kind is None else None
    if by_epoch or kind is not None and not issubclass(kind, IterBasedTrainLoop):  # type: ignore[arg-type]
        return
    parts = {'default_hooks.checkpoint': (top.get('default_hooks') or {}).get('checkpoint')}
    parts |= {f'param_scheduler[{i}]': item for i, item in enumerate(schedulers_of(top))}
    for path, part in parts.items():
        if isinstance(part, dict) and part.get('by_epoch', True):
            raise ValueError(
                f'{path}.by_epoch: training counts iterations, so that no epoch ever ends: set it '
                'to False, and all lengths beside it in iterations'
            )


def check_validation(top: dict, scope: str) -> None:
    """Refuse a validation that an algorithm without predictions cannot do, and what waits for it.

    The hooks that wait have a use for the metrics of a validation, and none for training.
    """
    validates = top.get('val_cfg') is not None
    kind = find_type(top['model'].get('type'), roots.MODELS, scope)
    if validates and getattr(kind, 'forward', None) is BaseSelfSupervisor.forward:
        loop = find_type(top['val_cfg'].get('type', 'ValLoop'), roots.LOOPS, scope)
        if loop is ValLoop:
            raise ValueError(
                f'val_cfg: {kind.__name__} predicts nothing that could be validated: '  # type: ignore[union-attr]
                f'{KEEP_MEASURING}; or remove val_cfg, val_dataloader and val_evaluator'
            )
    if validates:
        return
    hooks = {f'default_hooks.{k}': v for k, v in (top.get('default_hooks') or {}).items()}
    hooks |= {f'custom_hooks[{i}]': v for i, v in enumerate(top.get('custom_hooks') or ())}
    for path, hook in hooks.items():
        kind = find_type(hook.get('type'), roots.HOOKS, scope) if isinstance(hook, dict) else None
        if kind is not None and waits_for_validation(kind):
            raise ValueError(
                f'{path}: {hook["type"]} waits for a validation, and there is none: '
                f'{KEEP_MEASURING}'
            )
    for i, item in enumerate(schedulers_of(top)):
        kind = find_type(item.get('type'), roots.PARAM_SCHEDULERS, scope)
        if isinstance(kind, type) and issubclass(kind, ReduceOnPlateauParamScheduler):
            raise ValueError(
                f'param_scheduler[{i}]: {item["type"]} waits for a validation, and there is none: '
                f'{KEEP_MEASURING}'
            )


def waits_for_validation(kind: Any) -> bool:
    """Return whether a class of hooks does something after validation and nothing in training."""

    def has_own(name: str) -> bool:
        return getattr(kind, name, None) is not getattr(Hook, name)

    in_training = [name for name in vars(Hook) if name.startswith(('before_train', 'after_train'))]
    return has_own('after_val_epoch') and not any(map(has_own, in_training))


def check_variables(cfg: Config, options: dict | None = None) -> None:
    """Refuse to change a variable of a config file, such as ``max_epochs``, after its use.

    Files use variables while they are read. Afterwards, in a file that inherits or by an option,
    the section that was made from one has to be changed.

    Args:
        cfg: A config as it was read from a file.
        options: What is going to be merged into it.

    Raises:
        ValueError: it names the entry that has the same name.
    """
    changes = [(f'{cfg.filename}: {name}', name) for name in unread_names(cfg)]
    for key, value in (options or {}).items():
        name = key.partition('.')[0]
        if name in cfg and value != cfg[name]:
            changes.append((f'--cfg-options {key}', name))
    for change, name in changes:
        entries = {} if name in {*SECTIONS, *PLAIN} else dict(entries_named(name, cfg))
        if entries and (change.startswith('--') or cfg[name] not in entries.values()):
            raise ValueError(
                f'{change} changes nothing, it was read before: set {" and ".join(entries)}'
            )


def unread_names(cfg: Config) -> list[str]:
    """Return the names to which a file that inherits gives values that it does not use itself.

    A config that mmengine wrote inherits nothing, and keeps the variables of its files.
    """
    if not cfg.filename or not cfg.filename.endswith('.py'):
        return []
    tree = ast.parse(Path(cfg.filename).read_text('utf-8'))
    stored = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    if '_base_' not in stored:
        return []
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return [
        target.id
        for line in tree.body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name) and target.id in cfg and target.id not in read
    ]


def entries_named(name: str, cfg: Config) -> Iterator[tuple[str, Any]]:
    """Yield the paths and values of the entries with a name directly in a section."""
    for section in (*SECTIONS, *PLAIN):
        value = cfg.get(section)
        if isinstance(value, dict) and name in value:
            yield f'{section}.{name}', value[name]
