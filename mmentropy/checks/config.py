"""Mistakes in a config, named by their path before anything is built.

A config is compared with the signatures of the classes that it names. Values are
accepted here, except for lengths of schedules and widths of ResNets; the classes
refuse wrong values when they are built.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from numbers import Number
from os.path import commonprefix
from typing import Any, NamedTuple, TypeGuard

from mmengine import registry as roots
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmentropy.checks.arguments import NOT_NEGATIVE

# The registry of the dicts in each section.
SECTIONS = dict(
    model=roots.MODELS,
    data_preprocessor=roots.MODELS,
    train_dataloader=roots.DATASETS,
    val_dataloader=roots.DATASETS,
    test_dataloader=roots.DATASETS,
    eval_datasets=roots.DATASETS,
    train_cfg=roots.LOOPS,
    val_cfg=roots.LOOPS,
    test_cfg=roots.LOOPS,
    optim_wrapper=roots.OPTIM_WRAPPERS,
    param_scheduler=roots.PARAM_SCHEDULERS,
    default_hooks=roots.HOOKS,
    custom_hooks=roots.HOOKS,
    val_evaluator=roots.METRICS,
    test_evaluator=roots.METRICS,
    visualizer=roots.VISUALIZERS,
    log_processor=roots.LOG_PROCESSORS,
)
# The keys below which the dicts are of another registry, by the registry around them.
INNER = {
    roots.DATASETS: dict(
        transforms=roots.TRANSFORMS,
        sampler=roots.DATA_SAMPLERS,
        batch_sampler=roots.DATA_SAMPLERS,
        collate_fn=roots.FUNCTIONS,
    ),
    roots.HOOKS: dict(train=roots.DATASETS, test=roots.DATASETS),
    roots.MODELS: dict(init_cfg=roots.WEIGHT_INITIALIZERS),
    roots.OPTIM_WRAPPERS: dict(optimizer=roots.OPTIMIZERS),
    roots.VISUALIZERS: dict(vis_backends=roots.VISBACKENDS),
}
# Parts of a model that are built as they are written, and say their type. Other
# parts get arguments from the part around them, which may build them by itself.
TYPED_PARTS = ('model', 'backbone', 'neck', 'head', 'predictor', 'projector', 'loss', 'mec')
COMPLETE_PARTS = (*TYPED_PARTS, 'data_preprocessor', 'norm_cfg')
# Dicts under these keys say their type.
TYPED = (
    *TYPED_PARTS,
    'pipeline',
    'transforms',
    'dataset',
    'sampler',
    'collate_fn',
    'optimizer',
    'custom_hooks',
    'train',
    'test',
)
# Transforms whose parts another package builds.
FOREIGN = ('Albu', 'Albumentations')
# Arguments that are added when the types of a registry are built.
ADDED = {
    roots.OPTIMIZERS: ('params',),
    roots.OPTIM_WRAPPERS: ('optimizer',),
    roots.PARAM_SCHEDULERS: ('optimizer',),
    roots.LOOPS: ('runner', 'dataloader', 'evaluator'),
    roots.DATA_SAMPLERS: ('dataset', 'sampler', 'batch_size'),
    roots.METRICS: ('metrics',),
    roots.VISBACKENDS: ('save_dir',),
    roots.MODELS: ('num_features', 'num_channels', 'normalized_shape'),
}
# Keys that are taken out before the types of a registry are built.
TAKEN = {
    roots.TRANSFORMS: ('magnitude_key', 'magnitude_range'),
    roots.HOOKS: ('priority',),
    roots.OPTIM_WRAPPERS: ('constructor', 'paramwise_cfg'),
    roots.PARAM_SCHEDULERS: ('convert_to_iter_based',),
    roots.LOOPS: ('by_epoch',),
    roots.WEIGHT_INITIALIZERS: ('layer', 'override'),
    roots.MODELS: ('requires_grad',),
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Keys of sections that are the arguments of no class, and of the data loaders.
PLAIN = dict(
    eval_datasets=('train', 'test'),
    custom_imports=('imports', 'allow_failed_imports'),
    auto_scale_lr=('base_batch_size', 'enable'),
    randomness=('seed', 'diff_rank_seed', 'deterministic'),
    env_cfg=('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    **dict.fromkeys(
        LOADERS,
        (
            *inspect.signature(DataLoader).parameters,
            'num_batch_per_epoch',
            'disable_subprocess_warning',
        ),
    ),
)
NEEDED = dict(
    eval_datasets=('train', 'test'),
    train_dataloader=('dataset', 'sampler'),
    val_dataloader=('dataset', 'sampler'),
    test_dataloader=('dataset', 'sampler'),
)
HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
    'draws',
    'bad_images',
    'numbers',
    'ranks',
    'signals',
)
# Their last stage has base_channels * 2**stage * expansion channels.
RESNETS = ('ResNet', 'ResNet_CIFAR', 'ResNet_CIFAR_Pool')
# The images of these data sets have one channel.
GRAY = ('Digits', 'FashionMNIST', 'LocalFashionMNIST', 'MNIST')


def check_config(cfg: Config) -> None:
    """Raise for the first mistake in a config for mmengine's Runner.

    Looks at the sections of the Runner, at our ``eval_datasets`` and at every
    dict with a ``type`` in them. Other names at the top are the user's own,
    unless they differ from the name of a section by one letter. The modules
    of ``custom_imports`` must be imported.

    Raises:
        ValueError: in one line, which begins with the path of the key: the
            key or its type is unknown, with the nearest known name; an
            argument is missing; a schedule begins after its end; a neck does
            not take as many channels as a ResNet gives.
    """
    top = dict(cfg)
    trains = bool(top.get('train_cfg'))
    scope = top.get('default_scope') or ('mmengine' if trains else 'mmpretrain')
    check_sections(top, trains)
    for name, registry in SECTIONS.items():
        check_part(top.get(name), name, name, registry, scope)
    if trains:
        if not {'optimizer', 'constructor'} & {*top['optim_wrapper']}:
            raise ValueError('optim_wrapper.optimizer: is missing')
        check_schedule(top)
        check_gray_images(top)
        check_widths(top['model'])


def check_sections(top: dict, trains: bool) -> None:
    """Check the names at the top of a config, and the sections without a type."""
    known = {*inspect.signature(Runner).parameters, *SECTIONS, *PLAIN} - {'cfg'}
    for name, value in top.items():
        # A user's own `models` or `model2` beside `model` is another model.
        numbered = name[-1] in 's0123456789' and name[:-1] in top
        if name not in known and not numbered:
            is_section = isinstance(value, (dict, list, tuple))
            refuse_slip(name, name, [k for k in known if is_section == (k in {*SECTIONS, *PLAIN})])
        if name in SECTIONS and value is not None and not isinstance(value, (dict, list, tuple)):
            raise ValueError(f'{name}: must be a dict, got {value!r}')
    # Files of data sets alone are configs too.
    for name in ('model', 'train_dataloader', 'optim_wrapper') if trains else ():
        if top.get(name) is None:
            raise ValueError(f'{name}: is missing, and train_cfg says to train')
    for name, keys in PLAIN.items():
        if isinstance(top.get(name), dict):
            check_keys(top[name], name, Arguments(name, keys, NEEDED.get(name, ()), True))
    for name in top.get('default_hooks') or ():
        if name not in HOOKS:
            refuse_slip(name, f'default_hooks.{name}', HOOKS)


def check_part(value: Any, path: str, key: str, registry: Registry, scope: str) -> None:
    """Check all dicts with a type in a value of a config.

    Args:
        value: anything; dicts and lists are looked into.
        path: where the value is in the config, for messages.
        key: the last name in the path.
        registry: the registry that holds the types.
        scope: the scope of the registry, such as 'mmpretrain'.
    """
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            check_part(item, f'{path}[{i}]', key, registry, scope)
    if not isinstance(value, dict):
        # Parts of a model may be None; entries of a list may not.
        entry = path.endswith(']') and key in (*TYPED, 'param_scheduler')
        if entry and isinstance(value, (str, Number, type(None))):
            raise ValueError(f'{path}: must be a dict, got {value!r}')
        return
    scope = value.get('_scope_') or scope
    if 'type' in value:
        check_type(value, path, key, registry, scope)
    elif key in TYPED or path == 'train_cfg' and 'by_epoch' not in value:
        raise ValueError(f'{path}.type: is missing')
    else:
        for name in value:
            refuse_slip(name, f'{path}.{name}', ['type'])
    if value.get('type') in FOREIGN:
        return
    depends = depends_on_parent(key, registry)
    for name, item in value.items():
        at = roots.TRANSFORMS if name.endswith('pipeline') else registry
        at = INNER.get(registry, {}).get(name, at)
        # The keys of paramwise_cfg are patterns of parameters' names.
        if name != 'paramwise_cfg':
            below = '' if depends and at is roots.MODELS else name
            check_part(item, f'{path}.{name}', below, at, scope)


def depends_on_parent(key: str, registry: Registry) -> bool:
    """Return whether a part may get arguments from the part around it, or be built by it."""
    return registry is roots.FUNCTIONS or registry is roots.MODELS and key not in COMPLETE_PARTS


def check_type(value: dict, path: str, key: str, registry: Registry, scope: str) -> None:
    """Check that the type of a dict exists and takes the other keys."""
    kind = value['type']
    target = find_type(kind, registry, scope)
    depends = depends_on_parent(key, registry)
    if target is None and registry is roots.MODELS and depends:
        return
    if target is None:
        names = {*registry.module_dict, *registry_of(registry, scope).module_dict}
        scopes = [s for s, child in registry.children.items() if str(kind) in child.module_dict]
        hint = f'; set default_scope={scopes[0]!r}' if scopes else nearest_name(str(kind), names)
        raise ValueError(f'{path}.type: {kind!r} is not registered{hint}')
    found = arguments(target)
    if depends:
        found = found._replace(required=(), complete=False)
    required = [name for name in found.required if name not in ADDED.get(registry, ())]
    # A data set of the host's without a pipeline builds, and gives no images.
    if key in ('dataset', 'train', 'test') and 'pipeline' in found.known:
        required.append('pipeline')
    known = (*found.known, *TAKEN.get(registry, ()))
    check_keys(value, path, found._replace(known=known, required=required))


class Arguments(NamedTuple):
    """The arguments that a class or function takes.

    Args:
        owner: the name of the class or function.
        known: the names of its arguments.
        required: the names of those without a default.
        complete: whether it takes no others.
    """

    owner: str
    known: Iterable[str]
    required: Iterable[str]
    complete: bool


@cache
def arguments(target: Callable) -> Arguments:
    """Return the arguments of a class or function by its signature.

    If a constructor takes ``**kwargs``, the arguments of its base classes are
    known too, and anything else may be taken.
    """
    # mmpretrain registers the transforms of torchvision in a wrapper.
    wrapped = isinstance(target, partial)
    if isinstance(target, partial):
        target = target.keywords.get('transform', target.func)
    functions: Iterator[Callable] = iter([target])
    if inspect.isclass(target):
        functions = (vars(c)['__init__'] for c in target.__mro__ if '__init__' in vars(c))
    known: dict[str, bool] = {}
    complete, first = False, True
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            break
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != 'self':
                needed = first and not wrapped and p.default is p.empty
                known.setdefault(p.name, needed)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            complete = first
            break
        first = False
    required = [name for name, needed in known.items() if needed]
    return Arguments(getattr(target, '__name__', str(target)), known, required, complete)


def check_keys(value: dict, path: str, found: Arguments) -> None:
    """Check the keys of a dict against the arguments that its type takes."""
    for key in value:
        if key in found.known or key in ('type', '_scope_'):
            continue
        if found.complete:
            hint = nearest_name(key, found.known)
            raise ValueError(f'{path}.{key}: {found.owner} has no argument {key!r}{hint}')
        refuse_slip(key, f'{path}.{key}', found.known)
    for key in found.required:
        if key not in value:
            raise ValueError(f'{path}.{key}: {found.owner} needs this argument')


def check_schedule(top: dict) -> None:
    """Refuse a scheduler that begins when it, or the training, has ended."""
    schedulers = top.get('param_scheduler') or ()
    if isinstance(schedulers, dict):
        # One scheduler, or the schedulers of several optimisers by their names.
        schedulers = [schedulers] if 'type' in schedulers else ()
    for i, item in enumerate(schedulers):
        limit = 'max_epochs' if item.get('by_epoch', True) else 'max_iters'
        begin, end, length = item.get('begin', 0), item.get('end'), top['train_cfg'].get(limit)
        named = {
            f'param_scheduler[{i}].begin': begin,
            f'param_scheduler[{i}].end': end,
            f'train_cfg.{limit}': length,
        }
        for path, value in named.items():
            if value is not None and not NOT_NEGATIVE.test(value):
                raise ValueError(f'{path}: must be {NOT_NEGATIVE.text}, got {value!r}')
        if end is not None and begin >= end:
            raise ValueError(f'param_scheduler[{i}].begin: {begin} must be below its end, {end}')
        if end is None and length is not None and begin >= length:
            raise ValueError(
                f'param_scheduler[{i}].begin: {begin} must be below train_cfg.{limit}, {length}: '
                'shorten the warm-up or train longer'
            )


def check_gray_images(top: dict) -> None:
    """Refuse a ResNet for colours where images and statistics have one channel."""
    backbone = top['model'].get('backbone')
    dataset = top['train_dataloader']['dataset']
    # One mean alone may also be the mean of all channels.
    mean = (top.get('data_preprocessor') or {}).get('mean')
    gray = isinstance(dataset, dict) and dataset.get('type') in GRAY and len(mean or ()) == 1
    if gray and is_resnet(backbone) and 'in_channels' not in backbone:
        raise ValueError(
            'model.backbone.in_channels: is missing; it is 3 by default, but '
            f'{dataset["type"]} and data_preprocessor.mean have one channel'
        )


def check_widths(model: dict) -> None:
    """Refuse a neck, or its projector, that takes other features than a ResNet gives."""
    backbone, neck = model.get('backbone'), model.get('neck')
    if not is_resnet(backbone) or not isinstance(neck, dict):
        return
    base, stage = backbone.get('base_channels', 64), max(backbone.get('out_indices', (3,)))
    width = base * 2**stage * backbone.get('expansion', 1 if backbone['depth'] < 50 else 4)
    for path, part in {'neck': neck, 'neck.projector': neck.get('projector')}.items():
        if not isinstance(part, dict) or part['type'] != 'NonLinearNeck':
            continue
        if part['in_channels'] != width:
            raise ValueError(
                f'model.{path}.in_channels: {part["in_channels"]}, but model.backbone gives '
                f'{width} channels: base_channels {base} in stage {stage} of out_indices'
            )


def is_resnet(backbone: Any) -> TypeGuard[dict]:
    """Return whether a part of a config is a ResNet of mmpretrain's."""
    return isinstance(backbone, dict) and backbone.get('type') in RESNETS


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
