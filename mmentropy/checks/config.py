"""Mistakes in a config, named by the path of the key before it is built.

Keys are those in the signatures of what the registries hold; values are
checked by annotation, default and ``RULES``. Where a signature cannot tell,
everything is accepted.
"""

import ast
import inspect
import textwrap
import types
import typing
from collections import abc
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from numbers import Number
from os.path import commonprefix
from typing import Any, NamedTuple

from mmengine import registry as roots
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmentropy.checks.arguments import (
    BELOW_ONE,
    COUNT,
    INDEX,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Rule,
    is_integer,
    is_number,
    or_none,
    some,
)

# The registry of what a section holds, and of what keys inside of it do.
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
_DATA = dict(
    pipeline=roots.TRANSFORMS,
    transforms=roots.TRANSFORMS,
    sampler=roots.DATA_SAMPLERS,
    batch_sampler=roots.DATA_SAMPLERS,
    collate_fn=roots.FUNCTIONS,
)
PARTS = {
    roots.DATASETS: _DATA,
    roots.HOOKS: dict(train=roots.DATASETS, test=roots.DATASETS),
    roots.MODELS: dict(pipeline=roots.TRANSFORMS, init_cfg=roots.WEIGHT_INITIALIZERS),
    roots.OPTIM_WRAPPERS: dict(optimizer=roots.OPTIMIZERS),
    roots.VISUALIZERS: dict(vis_backends=roots.VISBACKENDS),
}
ROOTS = [r for r in vars(roots).values() if isinstance(r, Registry)]
# Parts of a model that are built as they stand. Others get arguments from the
# part around them, which also knows where to look for their types.
WHOLE = {
    'model',
    'backbone',
    'neck',
    'head',
    'predictor',
    'projector',
    'loss',
    'mec',
    'norm_cfg',
    'data_preprocessor',
}
# Algorithms whose neck and head are optional by their signature only.
PROJECTING = {'BYOL', 'BarlowTwins', 'DINO', 'ER', 'MEC', 'MinEnt', 'SimCLR', 'SimSiam'}
# Whose last stage is 2**stage * expansion times base_channels wide.
RESNETS = ('ResNet', 'ResNet_CIFAR', 'ResNet_CIFAR_Pool')
# Data sets of one channel.
GRAY = ('Digits', 'FashionMNIST', 'LocalFashionMNIST', 'MNIST')
# Keys whose dicts are nothing without a type, and those without a name.
TYPED = WHOLE - {'data_preprocessor'} | {
    'pipeline',
    'transforms',
    'dataset',
    'sampler',
    'collate_fn',
    'optimizer',
    'vis_backends',
    'param_scheduler',
    'custom_hooks',
    'visualizer',
}
# Whose parts are not for mmengine to build.
FOREIGN = ('Albu', 'Albumentations')
MEMBERS = dict(default_hooks='custom_hooks', eval_datasets='dataset')
# By registry: what the host adds to a dict and what it takes out of it.
FILLED = {
    'optimizer': ('params',),
    'parameter scheduler': ('optimizer',),
    'loop': ('runner', 'dataloader', 'evaluator'),
    'data sampler': ('dataset', 'sampler', 'batch_size'),
    'evaluator': ('metrics',),
    'vis_backend': ('save_dir',),
}
TAKEN = {
    'policies': ('magnitude_key', 'magnitude_range'),
    'hook': ('priority',),
    'optim_wrapper': ('constructor', 'paramwise_cfg', 'optimizer'),
    'parameter scheduler': ('convert_to_iter_based',),
    'loop': ('by_epoch',),
    'weight initializer': ('layer', 'override'),
    'norm_cfg': ('requires_grad',),
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Sections that are the arguments of no class.
PLAIN = dict(
    eval_datasets=('train', 'test'),
    custom_imports=('imports', 'allow_failed_imports'),
    auto_scale_lr=('base_batch_size', 'enable'),
    randomness=('seed', 'diff_rank_seed', 'deterministic'),
    env_cfg=('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
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


def leaves(value: Any) -> Iterator[Any]:
    """The entries of lists in lists; of anything else itself."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def each(rule: Rule) -> Rule:
    """The rule for one value or a list of them, in lists as well."""
    return Rule(f'{rule.text}, or several', lambda x: all(map(rule.test, leaves(x))))


WHOLE_COUNT = Rule('an integer >= 1', lambda x: is_number(x) and x >= 1 and x == int(x))
INTEGER = Rule('an integer', is_integer)
SCALE = Rule(
    "'dynamic', a number above 0 or a dict",
    lambda x: isinstance(x, dict) or x == 'dynamic' or POSITIVE.test(x),
)

# By registry, section, or name of a class or one of its bases. The default of
# an argument is always right.
RULES: dict[str, dict[str, Rule]] = {
    'optimizer': dict(lr=POSITIVE, weight_decay=NOT_NEGATIVE, momentum=BELOW_ONE),
    'parameter scheduler': dict(
        # Of an epoch, where steps are converted to iterations.
        begin=NOT_NEGATIVE,
        end=POSITIVE,
        start_factor=SHARE,
        end_factor=SHARE,
    ),
    'transform': dict(
        scale=each(POSITIVE),
        size=each(POSITIVE),
        crop_size=each(POSITIVE),
        crop_ratio_range=each(POSITIVE),
        prob=SHARE,
        num_views=each(COUNT),
    ),
    # Annotated as one number, taken as several.
    'model': dict(out_indices=each(INTEGER)),
    'ResNet': dict(
        depth=COUNT,
        in_channels=COUNT,
        stem_channels=COUNT,
        base_channels=COUNT,
        num_stages=COUNT,
        strides=some(COUNT),
        dilations=some(COUNT),
        out_indices=some(INDEX),
    ),
    'NonLinearNeck': dict(
        in_channels=COUNT, hid_channels=COUNT, out_channels=COUNT, num_layers=COUNT
    ),
    'SelfSupDataPreprocessor': dict(std=each(POSITIVE)),
    'loop': dict(max_epochs=WHOLE_COUNT, max_iters=WHOLE_COUNT, val_interval=POSITIVE),
    'auto_scale_lr': dict(base_batch_size=COUNT),
    'AmpOptimWrapper': dict(loss_scale=SCALE),
    'randomness': dict(seed=or_none(INDEX)),
    **{name: dict(batch_size=COUNT, num_workers=INDEX) for name in LOADERS},
}


# None of a name of which nothing else is known.
Known = dict[str, inspect.Parameter | None]


class Arguments(NamedTuple):
    """Of a class or function: what has no default; what else may be given.

    ``open`` says that there may be more than is known.
    """

    known: Known
    required: frozenset[str]
    open: bool


def check_config(cfg: Config) -> None:
    """Raise for the first mistake in a config for the Runner.

    Looks at every dict with a ``type``, in the scope of the config, and at
    the sections without one, among them our ``eval_datasets``. Names at the
    top that resemble no section are the user's. What ``custom_imports`` names
    must be imported.

    Raises:
        ValueError: In one line, which begins with the path of the key: it or
            its type is unknown, with the nearest known name; an argument is
            missing; a value is of the wrong kind or out of range.
    """
    top = dict(cfg)
    trains = bool(top.get('train_cfg'))
    scope = top.get('default_scope') or ('mmengine' if trains else 'mmpretrain')
    check_sections(top, trains)
    for name, registry in SECTIONS.items():
        check_part(top.get(name), name, name, registry, scope)
    for name in top.get('default_hooks') or ():
        if name not in HOOKS:
            check_resemblance(name, f'default_hooks.{name}', HOOKS)
    if trains:
        # Special constructors make optimisers of other keys.
        if not {'optimizer', 'constructor'} & set(top['optim_wrapper'] or ()):
            raise ValueError('optim_wrapper.optimizer: is missing')
        check_pipelines(top, scope)
        check_schedule(top)
        check_channels(top)


def check_sections(top: dict, trains: bool) -> None:
    """Check the names at the top and the sections without a type."""
    runner = arguments(Runner)
    for name in top.keys() - runner.known.keys() - PLAIN.keys():
        if isinstance(top[name], (dict, list, tuple)):
            known: Collection[str] = [*SECTIONS, *PLAIN]
        else:
            known = runner.known.keys() - SECTIONS.keys() - PLAIN.keys() - {'cfg'}
        # model2 beside model is another model.
        numbered = name[-1] in 's0123456789' and name[:-1] in top
        check_resemblance(name, name, {*known} - {name[:-1] if numbered else ''})
    # Files of data sets alone are configs too.
    needed = {'model', 'train_dataloader', 'optim_wrapper'} if trains else ()
    check_arguments(
        {k: v for k, v in top.items() if k in runner.known},
        '',
        'training',
        runner._replace(required=frozenset(needed)),
        (),
    )
    for name, keys in PLAIN.items():
        if isinstance(top.get(name), dict):
            names: Known = dict.fromkeys(keys)
            needs = frozenset(keys if name == 'eval_datasets' else ())
            plain = Arguments(names, needs, False)
            check_arguments(top[name], name, name, plain, (name,))
    for name in LOADERS:
        if isinstance(top.get(name), dict):
            check_arguments(top[name], name, 'the loader', loader_arguments(trains), (name,))


def check_part(
    value: Any, path: str, key: str, registry: Registry, scope: str, sure: bool = True
) -> None:
    """Check what lies below a key: dicts, also in lists.

    ``sure``: what is there is built from its registry as it stands.
    """
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            check_part(item, f'{path}[{i}]', key, registry, scope, sure)
    if not isinstance(value, dict):
        # Other parts may be None.
        entry = path.endswith((']', '.dataset', '.optimizer'))
        if (
            sure
            and (key in TYPED or path in SECTIONS)
            and (isinstance(value, (str, Number)) or value is None and entry)
        ):
            raise ValueError(f'{path}: must be a dict, got {value!r}')
        return
    scope = value.get('_scope_') or scope
    if not isinstance(scope, str):
        raise ValueError(f'{path}._scope_: must be a string, got {scope!r}')
    if 'type' in value:
        check_typed(value, path, key, registry, scope, sure)
    elif (
        sure
        and not by_optimiser(value, path)
        and (
            key in TYPED
            or path == 'train_cfg'
            and 'by_epoch' not in value
            or path == 'data_preprocessor'
            and 'pipeline' in value
        )
    ):
        # The default preprocessor takes no pipeline.
        raise ValueError(f'{path}.type: is missing')
    if value.get('type') in FOREIGN:
        return
    parts = PARTS.get(registry, {})
    for name, inner in value.items():
        # The keys of paramwise_cfg are patterns of parameters' names.
        if name != 'paramwise_cfg':
            at = parts.get(name, registry)
            whole = at not in (roots.MODELS, roots.HOOKS) or name in WHOLE
            check_part(
                inner,
                f'{path}.{name}',
                MEMBERS.get(key) or name,
                at,
                scope,
                sure and (whole or key in MEMBERS),
            )


def by_optimiser(value: dict, path: str) -> bool:
    """Whether these are the schedulers of several optimisers, by name."""
    return (
        path == 'param_scheduler'
        and bool(value)
        and all(isinstance(item, (dict, list, tuple)) for item in value.values())
    )


def check_typed(
    value: dict, path: str, key: str, registry: Registry, scope: str, sure: bool
) -> None:
    """Check the type of a dict and its keys against the signature."""
    kind, name = value['type'], registry.name
    target = resolve(kind, registry, scope)
    if target is None and sure:
        hint = nearest(kind, names_in(registry, scope))
        elsewhere = [
            name
            for name, child in registry.children.items()
            if isinstance(kind, str) and kind in child.module_dict
        ]
        if elsewhere:
            hint = f': set default_scope={elsewhere[0]!r}'
        raise ValueError(f'{path}.type: {kind!r} is not registered{hint}')
    if target is None or not sure:
        return
    found = arguments(target)
    filled = (
        found.required if registry is roots.FUNCTIONS or key == 'norm_cfg' else FILLED.get(name, ())
    )
    found = found._replace(
        known=dict.fromkeys(TAKEN.get(name, ()) + TAKEN.get(key, ())) | found.known,
        required=found.required.difference(filled),
    )
    bases = [base.__name__ for base in getattr(target, '__mro__', ())]
    # mmdet has a DINO, too.
    if 'BaseSelfSupervisor' in bases and not PROJECTING.isdisjoint(bases):
        found = found._replace(required=found.required | {'neck', 'head'})
    check_arguments(value, path, getattr(target, '__name__', str(kind)), found, (*bases, name))


def check_arguments(
    value: dict, path: str, owner: str, found: Arguments, rules: Collection[str]
) -> None:
    """Check keys and values of a dict against what ``owner`` takes."""
    given = {key: item for key, item in value.items() if key not in ('type', '_scope_')}
    prefix = f'{path}.' if path else ''
    for key in sorted(given.keys() - found.known.keys()):
        if found.open:
            check_resemblance(key, f'{prefix}{key}', found.known)
        else:
            raise ValueError(
                f'{prefix}{key}: {owner} has no argument {key!r}{nearest(key, found.known)}'
            )
    for key in sorted(found.required - given.keys()):
        raise ValueError(f'{prefix}{key}: {owner} needs this argument')
    for key, item in given.items():
        parameter = found.known.get(key)
        rule = next((RULES[name][key] for name in rules if key in RULES.get(name, ())), None)
        # Hosts annotate one number there, but take several too.
        pairs = not {'model', 'transform'}.isdisjoint(rules)
        check_value(f'{prefix}{key}', item, parameter, rule, pairs)


def check_value(
    path: str, value: Any, parameter: inspect.Parameter | None, rule: Rule | None, pairs: bool
) -> None:
    """Check one value by its rule, or by annotation and default."""
    default = parameter.default if parameter else inspect.Parameter.empty
    if default is value or type(default) is type(value) and default == value:
        return
    if rule is not None:
        if not rule.test(value):
            raise ValueError(f'{path}: must be {rule.text}, got {value!r}')
    elif parameter is not None:
        hint = parameter.annotation
        if hint is parameter.empty and isinstance(default, (str, int, float)):
            hint = type(default) | None
        if default is None:
            hint = typing.Optional[hint]  # noqa: UP045, of strings too
        elif default is not parameter.empty and not fits(default, hint):
            return
        if hint is not parameter.empty and not fits(value, hint, pairs):
            raise ValueError(f'{path}: must be {in_words(hint)}, got {value!r}')


def check_resemblance(name: str, path: str, known: Iterable[str]) -> None:
    """Refuse a name of the user's own that is a slip of a known one."""
    for other in known:
        if is_slip(name, other):
            raise ValueError(f'{path}: did you mean {other!r}?')


def is_slip(name: str, other: str) -> bool:
    """Whether they differ by one letter, or two in the wrong order."""
    start = len(commonprefix([name, other]))
    end = len(commonprefix([name[start:][::-1], other[start:][::-1]]))
    a, b = name[start : len(name) - end], other[start : len(other) - end]
    return max(len(a), len(b)) == 1 or len(a) == 2 and a == b[::-1]


def nearest(name: Any, known: Iterable[str]) -> str:
    """The end of a message: what may have been meant."""
    names = sorted(map(str, known))
    near = get_close_matches(str(name), names, 1)
    if near:
        return f'; did you mean {near[0]!r}?'
    return f'; it takes {", ".join(names)}' if len(names) < 20 else ''


def check_pipelines(top: dict, scope: str) -> None:
    """Refuse data sets whose samples nothing makes images of."""
    found = {f'{name}.dataset': (top.get(name) or {}).get('dataset') for name in LOADERS} | {
        f'eval_datasets.{name}': item for name, item in (top.get('eval_datasets') or {}).items()
    }
    for path, item in found.items():
        if item is None and path.startswith('eval_datasets'):
            raise ValueError(f'{path}: must be a dict, got None')
        if not isinstance(item, dict) or 'pipeline' in item:
            continue
        kind = resolve(item['type'], roots.DATASETS, item.get('_scope_') or scope)
        # A wrapper's parts have theirs.
        if 'pipeline' in arguments(kind).known:
            raise ValueError(f'{path}.pipeline: is missing')


def check_schedule(top: dict) -> None:
    """Refuse a scheduler that begins when training has ended."""
    train = top.get('train_cfg') or {}
    schedulers = top.get('param_scheduler') or ()
    if isinstance(schedulers, dict):
        several = by_optimiser(schedulers, 'param_scheduler')
        schedulers = list(leaves([*schedulers.values()])) if several else [schedulers]
    for i, item in enumerate(schedulers):
        unit = 'epochs' if item.get('by_epoch', True) else 'iters'
        name = f'train_cfg.max_{unit}'
        begin = item.get('begin', 0)
        end = item.get('end') or train.get(f'max_{unit}')
        if end is not None and begin >= end:
            raise ValueError(
                f'param_scheduler[{i}].begin: {begin} must be below '
                + (
                    f'its end, {end}'
                    if item.get('end')
                    else f'{name}, {end}: shorten the warm-up or train longer'
                )
            )


def check_channels(top: dict) -> None:
    """Refuse a backbone that does not fit the images or what follows it."""
    model, data = top.get('model') or {}, top.get('data_preprocessor') or {}
    backbone = model.get('backbone')
    if not isinstance(backbone, dict) or backbone.get('type') not in RESNETS:
        return
    images = (top.get('train_dataloader') or {}).get('dataset') or {}
    # One mean alone may also be that of all channels.
    if (
        'in_channels' not in backbone
        and images.get('type') in GRAY
        and len(data.get('mean') or ()) == 1
    ):
        raise ValueError(
            'model.backbone.in_channels: is missing; it is 3 by default, but '
            f'{images["type"]} and data_preprocessor.mean have one channel'
        )
    base = backbone.get('base_channels', 64)
    stage = max(backbone.get('out_indices', (3,)))
    width = base * 2**stage * backbone.get('expansion', 1 if backbone['depth'] < 50 else 4)
    for path in ('neck', 'neck.projector'):
        part = model
        for name in path.split('.'):
            # mmdet has lists of necks.
            part = part.get(name) if isinstance(part, dict) else None
        if (
            isinstance(part, dict)
            and part.get('type') == 'NonLinearNeck'
            and part['in_channels'] != width
        ):
            raise ValueError(
                f'model.{path}.in_channels: {part["in_channels"]}, but '
                f'model.backbone gives {width} channels: base_channels '
                f'{base} in stage {stage} of out_indices'
            )


# -- What a type takes -------------------------------------------------------


def local(registry: Registry, scope: str) -> Registry:
    """The registry of a scope; the root where the scope has none."""
    # Importing it registers it with the root.
    with suppress(ImportError):
        import_module(f'{scope}.registry')
    return registry.children.get(scope, registry)


def resolve(kind: Any, registry: Registry, scope: str) -> Any:
    """What is registered under a name, there.

    Parts of models and metrics may be in other registries.
    """
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    mixed = registry in (roots.MODELS, roots.METRICS)
    for root in (registry, *(ROOTS if mixed else ())):
        # mmengine also takes the path of an object, and raises if it is none.
        with suppress(RuntimeError):
            found = local(root, scope).get(kind)
            if found is not None:
                return found
    return None


def names_in(registry: Registry, scope: str) -> list[str]:
    """All names of a registry and of its root."""
    return [*registry.module_dict, *local(registry, scope).module_dict]


@cache
def loader_arguments(trains: bool) -> Arguments:
    """Of a data loader in a config, whole if it is for training."""
    known = arguments(DataLoader).known | dict.fromkeys(
        (
            'dataset',
            'sampler',
            'batch_sampler',
            'collate_fn',
            'worker_init_fn',
            'num_batch_per_epoch',
            'disable_subprocess_warning',
        )
    )
    required = ('dataset', 'sampler') if trains else ()
    return Arguments(known, frozenset(required), False)


@cache
def arguments(target: Any) -> Arguments:
    """What a class or function takes, as far as signatures tell.

    Of ``**kwargs`` that go on to the constructor of the base class, the
    arguments of that; of others anything is accepted.
    """
    if isinstance(target, partial):
        # mmpretrain registers the transforms of torchvision in a wrapper.
        found = arguments(target.keywords.get('transform', target.func))
        return found._replace(required=frozenset())
    if not inspect.isclass(target):
        return of_function(target)
    known: Known = {}
    required: set[str] = set()
    fixed: set[str] = set()
    positional = 0
    inits = [
        vars(base)['__init__']
        for base in target.__mro__
        if '__init__' in vars(base) and base is not nn.Module
    ]
    for init in inits:
        if init is object.__init__:
            # A class without a constructor of its own may have __new__.
            return Arguments(known, frozenset(required), '__new__' in vars(target))
        found = of_function(init)
        fixed.update(list(found.known)[:positional])
        known |= {k: v for k, v in found.known.items() if k not in known and k not in fixed}
        required |= found.required - fixed
        if not found.open:
            return Arguments(known, frozenset(required), False)
        passed = passed_on(init)
        if passed is None:
            return Arguments(known, frozenset(required), True)
        known |= dict.fromkeys(passed.read - known.keys())
        fixed |= passed.fixed
        positional = passed.positional
    return Arguments(known, frozenset(required), True)


def of_function(function: Callable) -> Arguments:
    """Of one function; ``self`` is left out."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return Arguments({}, frozenset(), True)
    try:
        hints = typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # names that exist for type checkers only
        hints = {}
    named = {
        name: parameter.replace(annotation=hints.get(name, parameter.empty))
        for name, parameter in parameters.items()
        if name != 'self'
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    required = {name for name, parameter in named.items() if parameter.default is parameter.empty}
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return Arguments({**named}, frozenset(required), rest)


class Passed(NamedTuple):
    """What a constructor does to ``**kwargs`` before its base gets them."""

    read: set[str]
    fixed: set[str]
    positional: int


def passed_on(init: Callable) -> Passed | None:
    """None where kwargs go elsewhere, or it cannot be seen."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return None
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or not function.args.kwarg:
        return None
    name = function.args.kwarg.arg
    uses = sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(function))
    read: set[str] = set()
    fixed: set[str] = set()
    positional = calls = 0
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if (
            node.func.attr in ('get', 'pop', 'setdefault')
            and isinstance(owner, ast.Name)
            and owner.id == name
            and isinstance(node.args[0], ast.Constant)
        ):
            read.add(str(node.args[0].value))
            uses -= 1
        elif node.func.attr == '__init__' and any(
            k.arg is None and isinstance(k.value, ast.Name) and k.value.id == name
            for k in node.keywords
        ):
            fixed.update(k.arg for k in node.keywords if k.arg)
            positional = sum(not isinstance(a, ast.Starred) for a in node.args)
            uses, calls = uses - 1, calls + 1
    if calls != 1 or uses:
        return None
    return Passed(read, fixed, positional)


# -- Values and annotations --------------------------------------------------


def fits(value: Any, hint: Any, pairs: bool = False) -> bool:
    """Whether a value may be what an annotation says; if in doubt, True.

    ``pairs``: a list of several will do for a number or a switch.
    """
    origin = typing.get_origin(hint)
    inner = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part, pairs) for part in inner)
    if hint is None or hint is types.NoneType:
        return value is None
    if pairs and hint in (bool, int, float, Number) and isinstance(value, (list, tuple)):
        return len(value) > 1 and all(fits(item, hint) for item in value)
    if hint is bool:
        # None for False is common.
        return value is None or isinstance(value, int) and value in (0, 1)
    if hint in (int, float, Number):
        return is_number(value)
    if hint is str:
        return isinstance(value, str)
    kind = origin or hint
    if kind in (list, tuple, abc.Sequence, abc.Iterable):
        if isinstance(value, (str, dict, Number)) or value is None:
            return False
        if (
            not inner
            or not isinstance(value, (list, tuple))
            or all(isinstance(item, (dict, list, tuple)) for item in value)
        ):
            return True
        if kind is tuple and inner[-1] is not Ellipsis:
            return len(inner) != len(value) or all(map(fits, value, inner))
        return all(fits(item, inner[0]) for item in value)
    if isinstance(kind, type) and issubclass(kind, abc.Mapping):
        # Where a dict is meant, many take a list of them too.
        entries = value if isinstance(value, (list, tuple)) else [value]
        return all(entry is None or isinstance(entry, abc.Mapping) for entry in entries)
    return True


WORDS = {
    bool: 'True or False',
    int: 'an integer',
    float: 'a number',
    str: 'a string',
    types.NoneType: 'None',
}


def in_words(hint: Any) -> str:
    """An annotation for people."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return ' or '.join(dict.fromkeys(map(in_words, typing.get_args(hint))))
    kind = origin or hint
    if kind in (list, tuple, abc.Sequence, abc.Iterable):
        inner = [part for part in typing.get_args(hint) if part is not ...]
        words = ' and '.join(dict.fromkeys(map(in_words, inner)))
        return f'a list of {words}' if words else 'a list'
    if isinstance(kind, type) and issubclass(kind, abc.Mapping):
        return 'a dict'
    return WORDS.get(hint, getattr(hint, '__name__', str(hint)))
