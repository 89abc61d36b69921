"""Mistakes in a config, named by their path before anything is built.

A config is compared with the signatures of the classes that it names. Values are accepted here,
except for schedules and ResNets; the classes refuse wrong values when they are built.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from inspect import isclass, signature
from numbers import Number
from os.path import commonprefix
from reprlib import repr as short
from typing import Any, NamedTuple

from mmengine import registry as roots
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmentropy.checks.arguments import COUNT, DICT, INDEX, NOT_NEGATIVE, Rule, or_none, some
from mmentropy.checks.channels import check_channels
from mmentropy.checks.config_parts import schedulers_of

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# The registry of the dicts in each section.
SECTIONS = {
    **dict.fromkeys(('model', 'data_preprocessor'), roots.MODELS),
    **dict.fromkeys((*LOADERS, 'eval_datasets'), roots.DATASETS),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), roots.LOOPS),
    **dict.fromkeys(('default_hooks', 'custom_hooks'), roots.HOOKS),
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), roots.METRICS),
    'optim_wrapper': roots.OPTIM_WRAPPERS,
    'param_scheduler': roots.PARAM_SCHEDULERS,
    'visualizer': roots.VISUALIZERS,
    'log_processor': roots.LOG_PROCESSORS,
}
# The sections that may be lists of dicts.
LISTS = ('custom_hooks', 'param_scheduler', 'val_evaluator', 'test_evaluator')
# The keys below which the dicts are of another registry, by the registry around them.
INNER = {
    roots.DATASETS: dict(
        sampler=roots.DATA_SAMPLERS, batch_sampler=roots.DATA_SAMPLERS, collate_fn=roots.FUNCTIONS
    ),
    roots.HOOKS: dict(train=roots.DATASETS, test=roots.DATASETS),
    roots.MODELS: dict(init_cfg=roots.WEIGHT_INITIALIZERS),
    roots.OPTIM_WRAPPERS: dict(optimizer=roots.OPTIMIZERS),
    roots.VISUALIZERS: dict(vis_backends=roots.VISBACKENDS),
}
# Dicts under these keys say their type.
TYPED_PARTS = ('model', 'backbone', 'neck', 'head', 'predictor', 'projector', 'loss', 'mec')
TYPED_DATA = ('dataset', 'train', 'test', 'pipeline', 'transforms', 'sampler', 'collate_fn')
TYPED = (*TYPED_PARTS, *TYPED_DATA, 'optimizer', 'custom_hooks')
# Other parts of a model get arguments from the part around them, or are built by it.
COMPLETE_PARTS = (*TYPED_PARTS, 'data_preprocessor', 'norm_cfg')
# Arguments that are added or taken out when the types of a registry are built.
OF_BUILDER = {
    roots.OPTIMIZERS: ('params',),
    roots.OPTIM_WRAPPERS: ('optimizer', 'constructor', 'paramwise_cfg'),
    roots.PARAM_SCHEDULERS: ('optimizer', 'convert_to_iter_based'),
    roots.LOOPS: ('runner', 'dataloader', 'evaluator', 'by_epoch'),
    roots.DATA_SAMPLERS: ('dataset', 'sampler', 'batch_size'),
    roots.TRANSFORMS: ('magnitude_key', 'magnitude_range'),
    roots.HOOKS: ('priority',),
    roots.METRICS: ('metrics',),
    roots.VISBACKENDS: ('save_dir',),
    roots.WEIGHT_INITIALIZERS: ('layer', 'override'),
    roots.MODELS: ('num_features', 'num_channels', 'normalized_shape', 'requires_grad'),
}
# mmengine takes the last two out before it builds a DataLoader.
OF_LOADER = (*signature(DataLoader).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning')
# The keys of sections that are no arguments of a class, and whether each is needed.
PLAIN = dict(
    eval_datasets=dict(train=True, test=True),
    custom_imports=dict(imports=False, allow_failed_imports=False),
    auto_scale_lr=dict(base_batch_size=False, enable=False),
    randomness=dict(seed=False, diff_rank_seed=False, deterministic=False),
    env_cfg=dict(cudnn_benchmark=False, mp_cfg=False, dist_cfg=False, resource_limit=False),
    **dict.fromkeys(LOADERS, dict.fromkeys(OF_LOADER, False) | dict(dataset=True, sampler=True)),
)
# The default hooks of mmengine, and ours, which all recipes have but those of mmdet and mmseg.
HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
OUR_HOOKS = ('draws', 'bad_images', 'numbers', 'ranks', 'signals')
# Their last stage has base_channels * 2**stage * expansion channels.
RESNETS = ('ResNet', 'ResNet_CIFAR', 'ResNet_CIFAR_Pool')


def check_config(cfg: Config) -> None:
    """Raise for the first mistake in a config for mmengine's Runner.

    Looks at the sections of the Runner, at our ``eval_datasets`` and at every dict with a ``type``
    in them. Other names at the top are the user's own, unless they differ from the name of a
    section by one letter. The modules of ``custom_imports`` must be imported.

    Raises:
        ValueError: in one line, which begins with the path of the key: the key or its type is
            unknown, with the nearest known name; an argument is missing; a section is no dict; a
            schedule begins after its end; a neck does not take the channels that a ResNet gives;
            the backbone, the loader and the statistics are of other channels.
    """
    top = dict(cfg)
    trains = bool(top.get('train_cfg'))
    scope = top.get('default_scope') or ('mmengine' if trains else 'mmpretrain')
    check_sections(top)
    for name, registry in SECTIONS.items():
        check_part(top.get(name), name, name, registry, scope)
    # Files of data sets alone are configs too.
    if trains:
        check_schedule(top)
        model = top['model']
        parts = [model, model.get('backbone')]
        kinds = [p.get('type') if isinstance(p, dict) else None for p in parts]
        check_channels(top, *(find_type(kind, roots.MODELS, scope) for kind in kinds))
        check_resnet(top)


def check_sections(top: dict) -> None:
    """Check the names at the top of a config, and the sections without a type."""
    for name in top:
        check_name(name, top)
    for name, known in PLAIN.items():
        if top.get(name) is not None:
            check_keys(top[name], name, Arguments(name, known, True))
    for name in top.get('default_hooks') or ():
        if name not in {*HOOKS, *OUR_HOOKS}:
            refuse_slip(name, f'default_hooks.{name}', (*HOOKS, *OUR_HOOKS))
    if top.get('train_cfg'):
        for name in ('model', 'train_dataloader', 'optim_wrapper'):
            if top.get(name) is None:
                raise ValueError(f'{name}: is missing, and train_cfg says to train')
        if not {'optimizer', 'constructor'} & {*top['optim_wrapper']}:
            raise ValueError('optim_wrapper.optimizer: is missing')


def check_name(name: str, top: dict) -> None:
    """Check a name at the top of a config, and that a section is a dict, or a list where it may."""
    sections = {*SECTIONS, *PLAIN}
    others = {*signature(Runner).parameters} - {*sections, 'cfg'}
    value = top[name]
    may_be_list = name in LISTS and isinstance(value, (list, tuple))
    if name in sections and value is not None and not may_be_list:
        check_value(value, name, DICT)
    # A user's own `models` or `model2` beside `model` is another model.
    numbered = name[-1] in 's0123456789' and name[:-1] in top
    if name not in {*sections, *others} and not numbered:
        is_section = isinstance(value, (dict, list, tuple))
        refuse_slip(name, name, sections if is_section else others)


def check_changed(cfg: Config, keys: Iterable[str]) -> None:
    """Refuse to change an entry of a config that nobody reads, by a name near one that is read.

    It takes less than :func:`check_config`: the config need not be one that trains.

    Args:
        cfg: A config as it was changed.
        keys: The dotted keys of what was changed.

    Raises:
        ValueError: in one line, which begins with the path of the key.
    """
    top = dict(cfg)
    for name, _, rest in (key.partition('.') for key in keys):
        check_name(name, top)
        if name in PLAIN and rest:
            known = dict.fromkeys(PLAIN[name], False)
            check_keys({rest.partition('.')[0]: None}, name, Arguments(name, known, True))


def check_value(value: Any, path: str, rule: Rule) -> None:
    """Check that a value of a config keeps a rule."""
    if not rule.test(value):
        raise ValueError(f'{path}: must be {rule.text}, got {short(value)}')


def check_part(value: Any, path: str, key: str, registry: Registry, scope: str) -> None:
    """Check all dicts with a type in a value of a config, however deep.

    The value is at ``path``, which ends in ``key``. Its types are in ``registry`` or its child
    named ``scope``.
    """
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            # Parts of a model may be None; entries of a list may not.
            if key in (*TYPED, 'param_scheduler') and isinstance(item, (str, Number, type(None))):
                check_value(item, f'{path}[{i}]', DICT)
            check_part(item, f'{path}[{i}]', key, registry, scope)
    if not isinstance(value, dict):
        return
    scope = value.get('_scope_') or scope
    depends = registry is roots.MODELS and key not in COMPLETE_PARTS
    if 'type' in value:
        found = arguments_of(value['type'], path, registry, scope, depends)
        # A data set of the host's without a pipeline builds, and gives no images.
        if key in ('dataset', 'train', 'test') and 'pipeline' in found.known:
            found = found._replace(known=found.known | dict(pipeline=True))
        check_keys(value, path, found)
    elif key in TYPED or path == 'train_cfg' and 'by_epoch' not in value:
        raise ValueError(f'{path}.type: is missing')
    else:
        for name in value:
            refuse_slip(str(name), f'{path}.{name}', ['type'])
    # Another package builds the parts of its transforms.
    if value.get('type') in ('Albu', 'Albumentations'):
        return
    for name, item in value.items():
        at = roots.TRANSFORMS if str(name).endswith('pipeline') else registry
        at = INNER.get(registry, {}).get(name, at)
        # The keys of paramwise_cfg are patterns of parameters' names.
        if name != 'paramwise_cfg':
            below = '' if depends and at is roots.MODELS else name
            check_part(item, f'{path}.{name}', below, at, scope)


class Arguments(NamedTuple):
    """The name of a class or function, and the arguments that it takes."""

    owner: str
    # Whether each argument is needed.
    known: dict[str, bool]
    # Whether there are no others.
    complete: bool


def arguments_of(kind: Any, path: str, registry: Registry, scope: str, depends: bool) -> Arguments:
    """Return the arguments that a dict with this type may give; ValueError if there is no such.

    A part that depends on another may have a type of its own.
    """
    target = find_type(kind, registry, scope)
    if target is None:
        if depends:
            return Arguments(str(kind), {}, complete=False)
        names = {*registry.module_dict, *registry_of(registry, scope).module_dict}
        scopes = [s for s, child in registry.children.items() if str(kind) in child.module_dict]
        hint = f'; set default_scope={scopes[0]!r}' if scopes else nearest_name(str(kind), names)
        raise ValueError(f'{path}.type: {kind!r} is not registered{hint}')
    owner, known, complete = arguments(target)
    if depends or registry is roots.FUNCTIONS:
        known, complete = dict.fromkeys(known, False), False
    return Arguments(owner, known | dict.fromkeys(OF_BUILDER.get(registry, ()), False), complete)


@cache
def arguments(target: Callable) -> Arguments:
    """Return the arguments by signature; beyond ``**kwargs`` those of base classes are known."""
    # mmpretrain registers the transforms of torchvision in a wrapper.
    wrapped = isinstance(target, partial)
    if isinstance(target, partial):
        target = target.keywords.get('transform', target.func)
    owner = getattr(target, '__name__', str(target))
    functions = [target]
    if isclass(target):
        functions = [vars(c)['__init__'] for c in target.__mro__ if '__init__' in vars(c)]
    known: dict[str, bool] = {}
    # Functions written in C have no signature.
    with suppress(TypeError, ValueError):
        for i, function in enumerate(functions):
            parameters = signature(function).parameters.values()
            for p in parameters:
                if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != 'self':
                    known.setdefault(p.name, i == 0 and not wrapped and p.default is p.empty)
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                return Arguments(owner, known, complete=i == 0)
    return Arguments(owner, known, complete=False)


def check_keys(value: dict, path: str, found: Arguments) -> None:
    """Check the keys of a dict against the arguments that its type takes."""
    for key in map(str, value):
        if key in found.known or key in ('type', '_scope_'):
            continue
        if found.complete:
            hint = nearest_name(key, found.known)
            raise ValueError(f'{path}.{key}: {found.owner} has no argument {key!r}{hint}')
        refuse_slip(key, f'{path}.{key}', found.known)
    for key, needed in found.known.items():
        if needed and key not in value:
            raise ValueError(f'{path}.{key}: {found.owner} needs this argument')


def check_schedule(top: dict) -> None:
    """Refuse a scheduler that begins when it, or the training, has ended."""
    for i, item in enumerate(schedulers_of(top)):
        path = f'param_scheduler[{i}]'
        check_value(item, path, DICT)
        limit = 'max_epochs' if item.get('by_epoch', True) else 'max_iters'
        begin, end, length = item.get('begin', 0), item.get('end'), top['train_cfg'].get(limit)
        check_value(begin, f'{path}.begin', NOT_NEGATIVE)
        check_value(end, f'{path}.end', or_none(NOT_NEGATIVE))
        check_value(length, f'train_cfg.{limit}', or_none(NOT_NEGATIVE))
        last, name = (length, f'train_cfg.{limit}') if end is None else (end, 'its end')
        if last is not None and begin >= last:
            raise ValueError(
                f'{path}.begin: {begin} must be below {name}, {last}: '
                'shorten the warm-up or train longer'
            )


def check_resnet(top: dict) -> None:
    """Refuse a ResNet whose neck takes other features."""
    model = top['model']
    backbone, neck = model.get('backbone'), model.get('neck')
    if not isinstance(backbone, dict) or backbone.get('type') not in RESNETS:
        return
    base, depth = backbone.get('base_channels', 64), backbone['depth']
    stages = backbone.get('out_indices', (3,))
    check_value(base, 'model.backbone.base_channels', COUNT)
    check_value(depth, 'model.backbone.depth', COUNT)
    check_value(stages, 'model.backbone.out_indices', some(INDEX))
    width = base * 2 ** max(stages) * (backbone.get('expansion') or (1 if depth < 50 else 4))
    projector = neck.get('projector') if isinstance(neck, dict) else None
    for path, part in {'neck': neck, 'neck.projector': projector}.items():
        if not isinstance(part, dict) or part['type'] != 'NonLinearNeck':
            continue
        if part['in_channels'] != width:
            raise ValueError(
                f'model.{path}.in_channels: {part["in_channels"]}, but model.backbone gives '
                f'{width} channels: base_channels {base} in stage {max(stages)} of out_indices'
            )


def registry_of(registry: Registry, scope: str) -> Registry:
    """Return the registry of a scope; the root registry where the scope has none."""
    # Importing it registers it with the root.
    with suppress(ImportError):
        import_module(f'{scope}.registry')
    return registry.children.get(scope, registry)


def find_type(kind: Any, registry: Registry, scope: str) -> Callable | None:
    """Return what is registered under a name, or the class that stands in its place."""
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    candidates = [registry]
    # Parts of models and metrics may be in other registries.
    if registry in (roots.MODELS, roots.METRICS):
        candidates += [root for root in vars(roots).values() if isinstance(root, Registry)]
    for root in candidates:
        # mmengine also takes the path of an object, and raises if there is none.
        with suppress(RuntimeError):
            found = registry_of(root, scope).get(kind)
            if found is not None:
                return found
    return None


def refuse_slip(name: str, path: str, known: Iterable[str]) -> None:
    """Refuse a name that differs from a known one by a letter, or by two swapped letters."""
    for other in known:
        start = len(commonprefix([name, other]))
        end = len(commonprefix([name[start:][::-1], other[start:][::-1]]))
        a, b = name[start : len(name) - end], other[start : len(other) - end]
        if max(len(a), len(b)) == 1 or len(a) == 2 and a == b[::-1]:
            raise ValueError(f'{path}: did you mean {other!r}?')


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that says which known name was meant."""
    near = get_close_matches(name, sorted(known), 1)
    return f'; did you mean {near[0]!r}?' if near else ''
