"""Mistakes in configs and arguments are named; what is right passes."""

import copy
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, HOOKS, MODELS
from repository import REPOSITORY

from mmentropy import evaluation
from mmentropy.checks.config import arguments, check_changed, check_config, refuse_slip

ROOT = REPOSITORY / 'configs'
CONFIGS = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py') if '_base_' not in path.parts
)
THEIRS = Path(mmpretrain.__file__).parent / '.mim/configs'
# One of each method.
SELFSUP = [
    next(iter(sorted(THEIRS.glob(f'{name}/*in1k*.py'))))
    for name in (
        'barlowtwins',
        'beit',
        'byol',
        'densecl',
        'eva',
        'mae',
        'maskfeat',
        'mixmim',
        'mocov2',
        'mocov3',
        'simclr',
        'simmim',
        'simsiam',
        'swav',
    )
] + [
    # A tuple where the host annotates an integer.
    THEIRS / 'beit/benchmarks/beit-base-p16_8xb128-coslr-100e_in1k.py'
]
DETECTORS = [
    Path(find_spec('mmdet').origin).parent / '.mim/configs' / name
    for name in (
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        'detr/detr_r50_8xb2-150e_coco.py',
        # Not our DINO.
        'dino/dino-4scale_r50_8xb2-12e_coco.py',
        'yolox/yolox_s_8xb8-300e_coco.py',
    )
]


@cache
def recipe(name='mec/r18s_1xb64_50e_digits.py'):
    return Config.fromfile(ROOT / name)


def changed(changes, name='mec/r18s_1xb64_50e_digits.py'):
    cfg = copy.deepcopy(recipe(name))
    cfg.merge_from_dict(changes)
    return cfg


def message(cfg):
    with pytest.raises(ValueError) as raised:
        check_config(cfg)
    text = str(raised.value)
    assert '\n' not in text
    return text


@pytest.mark.slow
@pytest.mark.parametrize('part', range(4))
def test_shipped_configs_pass(part):
    for name in CONFIGS[part::4]:
        check_config(Config.fromfile(ROOT / name))
    assert len(CONFIGS) > 150


@pytest.mark.parametrize('path', SELFSUP + DETECTORS, ids=lambda p: p.stem)
def test_configs_of_the_hosts_pass(path):
    check_config(Config.fromfile(path))


@pytest.mark.parametrize(
    'key, value, words',
    [
        (
            'model.head.loss.distorsion',
            0.1,
            "MECLoss has no argument 'distorsion'; did you mean 'distortion'?",
        ),
        # Through the constructors of ResNet_CIFAR and ResNet.
        ('model.backbone.dept', 18, "did you mean 'depth'?"),
        # Through kwargs of MEC to mmpretrain's base.
        ('model.nek', None, "did you mean 'neck'?"),
        ('model.head.predictor.with_las_bn', True, "mean 'with_last_bn'?"),
        ('model.backbone.norm_cfg.momentun', 0.1, "did you mean 'momentum'?"),
        ('train_dataloader.batch_sise', 8, "did you mean 'batch_size'?"),
        ('train_dataloader.dataset.splitt', 'test', "did you mean 'split'?"),
        ('train_dataloader.dataset.pipeline.0.num_view', 2, "mean 'num_views'?"),
        ('optim_wrapper.optimizer.momentun', 0.9, "did you mean 'momentum'?"),
        ('param_scheduler.0.start_facto', 0.1, "did you mean 'start_factor'?"),
        ('param_scheduler.0.convert_to_iter_base', True, "mean 'convert_to_iter_based'?"),
        ('default_hooks.number', dict(type='NonFiniteHook'), "mean 'numbers'?"),
        ('custom_hooks.0.intervall', 1, "did you mean 'interval'?"),
        ('default_hooks.logger.intervall', 1, "did you mean 'interval'?"),
        # Takes any keyword, but not a slip of its own.
        ('default_hooks.visualization.enabel', True, "did you mean 'enable'?"),
        ('default_hooks.loger', dict(type='LoggerHook'), "mean 'logger'?"),
        ('eval_datasets.tests', dict(), "did you mean 'test'?"),
        ('randomness.seeed', 0, "did you mean 'seed'?"),
        ('train_cfg.max_epoch', 3, "did you mean 'max_epochs'?"),
        ('optim_wraper', dict(), "did you mean 'optim_wrapper'?"),
        ('train_dataloder', dict(), "did you mean 'train_dataloader'?"),
        ('evl_datasets', dict(), "did you mean 'eval_datasets'?"),
        ('modell', {}, "did you mean 'model'?"),
        ('modle', dict(), "did you mean 'model'?"),
        ('resum', True, "did you mean 'resume'?"),
    ],
)
def test_unknown_keys(key, value, words):
    text = message(changed({key: value}))
    at = key.split('.')
    at = ''.join(f'[{p}]' if p.isdigit() else f'.{p}' for p in at)[1:]
    assert text.startswith(f'{at}: ') and words in text


def test_names_of_the_user_pass():
    check_config(
        changed(
            dict(
                mode='fast',
                my_loader=dict(batch_size='?'),
                norm=3,
                train_pipeline=[dict(type='Nothing')],
            )
        )
    )


@pytest.mark.parametrize(
    'key, value, near',
    [
        ('model.type', 'MEK', 'MEC'),
        ('model.head.loss.type', 'MECLos', 'MECLoss'),
        ('model.backbone.norm_cfg.type', 'GlobalBM', 'GlobalBN'),
        ('train_dataloader.dataset.type', 'Digit', 'Digits'),
        ('train_dataloader.dataset.pipeline.1.type', 'PackInput', 'PackInputs'),
        ('optim_wrapper.optimizer.type', 'SDG', 'SGD'),
        ('custom_hooks.0.type', 'KNNHok', 'KNNHook'),
        ('train_dataloader.collate_fn.type', 'defalt_collate', 'default_collate'),
        ('param_scheduler.0.type', 'LinearRL', 'LinearLR'),
        ('eval_datasets.train.type', 'Digitss', 'Digits'),
        ('train_cfg.type', 'EpochBasedTrainLop', 'EpochBasedTrainLoop'),
    ],
)
def test_unknown_types(key, value, near):
    text = message(changed({key: value}))
    assert f'{value!r} is not registered; did you mean {near!r}?' in text
    assert key.split('.')[0] in text.split(':')[0]


@pytest.mark.parametrize(
    'path',
    [
        'model.head.loss',
        'model.backbone.depth',
        'model.neck.in_channels',
        'model.head.predictor.type',
        'model.backbone.in_channels',
        'optim_wrapper.optimizer.type',
        'model',
        'train_dataloader.dataset.pipeline',
        'train_dataloader.sampler',
        'train_cfg.max_epochs',
        'train_cfg.type',
        'eval_datasets.test.type',
        'custom_hooks.0.type',
        'optim_wrapper.optimizer',
        'eval_datasets.test',
    ],
)
def test_missing_keys(path):
    cfg = copy.deepcopy(recipe())
    *parents, last = path.split('.')
    node = cfg._cfg_dict
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node.pop(last)
    assert last in message(cfg).split(': ')[0]


def test_algorithms_need_their_parts():
    for kind in ('MEC', 'ER', 'DINO', 'MinEnt'):
        for part in ('neck', 'head'):
            with pytest.raises(ValueError, match=f'{kind} needs a {part}'):
                MODELS.build(dict(METHOD, type=kind, **{part: None}))


def test_type_misspelt():
    cfg = copy.deepcopy(recipe())
    cfg.train_dataloader.collate_fn = dict(tpye='default_collate')
    assert message(cfg) == 'train_dataloader.collate_fn.type: is missing'
    cfg = copy.deepcopy(recipe())
    cfg.visualizer = dict(tpye='UniversalVisualizer')
    assert message(cfg) == "visualizer.tpye: did you mean 'type'?"


def test_default_scope_is_named():
    cfg = copy.deepcopy(recipe())
    cfg.pop('default_scope')
    assert "set default_scope='mmpretrain'" in message(cfg)


@pytest.mark.parametrize(
    'key, value',
    [
        ('param_scheduler', 'cosine'),
        ('param_scheduler.0', 'linear'),
        ('param_scheduler.0.end', -5),
        ('train_cfg.max_epochs', '50'),
        ('train_dataloader', 3),
        ('train_dataloader.dataset.pipeline.0', 'MultiView'),
        ('train_dataloader.dataset.pipeline.1', None),
        ('model.backbone.depth', '18'),
        ('model.backbone.out_indices', 3),
    ],
)
def test_values(key, value):
    cfg = copy.deepcopy(recipe())
    *parents, last = key.split('.')
    node = cfg
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node[int(last) if last.isdigit() else last] = value
    at = re.sub(r'\.(\d+)', r'[\1]', key)
    assert message(cfg).startswith(f'{at}: must be') and repr(value) in message(cfg)


@pytest.mark.parametrize(
    'name', ['model', 'data_preprocessor', 'train_dataloader', 'optim_wrapper', 'train_cfg']
)
def test_sections_that_are_lists(name):
    cfg = copy.deepcopy(recipe())
    cfg[name] = [cfg[name]]
    assert message(cfg).startswith(f'{name}: must be a dict, got [')


@pytest.mark.parametrize(
    'changes',
    [
        {'train_cfg.max_epochs': 1e2},
        {'param_scheduler.0.end': 0.5, 'param_scheduler.1.begin': 0.5},
        {'param_scheduler': dict(type='CosineAnnealingLR', T_max=50)},
        {
            'param_scheduler': dict(
                first=[dict(type='LinearLR', end=5)],
                second=[dict(type='CosineAnnealingLR', begin=5, T_max=45)],
            )
        },
        {'models': dict(a=1), 'model2': [1], 'train_dataloader2': dict(a=1)},
        {'cfgs': 'x', 'cfg1': 'x'},
        # One mean for three channels.
        {
            'train_dataloader.dataset.type': 'CIFAR10',
            'eval_datasets': None,
            'model.backbone': dict(type='ResNet_CIFAR', depth=18, base_channels=16),
        },
        {
            'model.neck': [
                dict(type='NonLinearNeck', in_channels=9, hid_channels=9, out_channels=9),
                dict(type='GlobalAveragePooling'),
            ],
            'data_preprocessor.to_rgb': None,
        },
        {
            'train_dataloader.dataset.pipeline': [
                dict(
                    type='RandAugment',
                    num_policies=2,
                    total_level=10,
                    magnitude_level=5,
                    policies=[dict(type='Rotate', magnitude_key='angle', magnitude_range=(0, 30))],
                )
            ]
        },
    ],
)
def test_what_hosts_take_is_taken(changes):
    cfg = copy.deepcopy(recipe())
    for key, value in changes.items():
        *parents, last = key.split('.')
        node = cfg
        for part in parents:
            node = node[int(part) if part.isdigit() else part]
        node[last] = value
    check_config(cfg)


def test_warm_up_longer_than_training():
    cfg = changed({'train_cfg.max_epochs': 5})
    text = message(cfg)
    assert text.startswith('param_scheduler[1].begin: 5')
    assert 'train_cfg.max_epochs, 5' in text
    check_config(changed({'train_cfg.max_epochs': 6}))


@pytest.mark.parametrize(
    'name, path',
    [
        ('mec/r18s_1xb64_50e_digits.py', 'model.neck.in_channels'),
        ('er/er_dino_r18s_1xb64_50e_digits.py', 'model.neck.projector.in_channels'),
    ],
)
def test_widths_that_differ(name, path):
    text = message(changed({'model.backbone.base_channels': 64}, name))
    assert text.startswith(f'{path}: 128, but model.backbone gives 256')
    assert 'base_channels 64' in text


def test_paths_go_through_lists():
    cfg = copy.deepcopy(recipe())
    transforms = cfg.train_dataloader.dataset.pipeline[0].transforms
    transforms[0][1].magnitude_rang = (0, 1)
    assert message(cfg).startswith(
        'train_dataloader.dataset.pipeline[0].transforms[0][1].magnitude_rang'
    )


def test_transforms_of_torchvision():
    cfg = copy.deepcopy(recipe('minent/minent_r18_1xb128_1000e_cifar10.py'))
    view = cfg.train_dataloader.dataset.pipeline[1].transforms[0]
    view[0].transforms[0].brightnes = 0.4
    assert "did you mean 'brightness'?" in message(cfg)


class Base:
    def __init__(self, a, b=1, c=2):
        pass


class Child(Base):
    def __init__(self, d, **kwargs):
        super().__init__(kwargs.pop('e', 0), c=3, **kwargs)


def test_arguments_of_a_class():
    assert arguments(Base) == ('Base', dict(a=True, b=False, c=False), True)
    # Whether the child or its base takes more than these, a signature does not tell.
    assert arguments(Child) == ('Child', dict(d=True, a=False, b=False, c=False), False)


def test_slips():
    for wrong in ('modl', 'moddel', 'mdoel', 'nodel'):
        with pytest.raises(ValueError, match="a.b: did you mean 'model'?"):
            refuse_slip(wrong, 'a.b', ['other', 'model'])
    for other in ('model', 'module', 'mo', 'leedom'):
        refuse_slip(other, 'a.b', ['model'])


BN = dict(type='BN')
NECK = dict(type='GlobalAveragePooling')
MINENT = dict(
    type='MinEntHead', in_channels=8, out_channels=4, norm_cfg=BN, loss=dict(type='MinEntLoss')
)
PROTOTYPES = dict(type='PrototypeNeck', projector=NECK, in_channels=8, num_prototypes=4)
METHOD = dict(
    backbone=dict(type='ResNet_CIFAR', depth=18),
    neck=NECK,
    head=dict(type='MECHead', loss=dict(type='MECLoss')),
)
NUMBER, FLAG, DICT = ('1', None, [1], -1), ('no', None, 2), ('x', 3, [1])


@pytest.mark.slow
@pytest.mark.parametrize(
    'registry, cfg, wrong',
    [
        (
            MODELS,
            dict(type='MECLoss'),
            dict(
                distortion=NUMBER,
                taylor_order=(*NUMBER, 0, 1.5),
                exact=FLAG,
                warmup=NUMBER,
                warmup_factor=(*NUMBER, 0.5),
                guard=FLAG,
                max_norm=(*NUMBER, 0, 2),
            ),
        ),
        (
            MODELS,
            dict(type='ERLoss'),
            dict(
                support=(3, None, ['sphere']),
                kappa=NUMBER,
                temperature=NUMBER,
                target_temperature=('1', [1], -1),
                estimator=('x', None),
                gather=FLAG,
                authors_constant=FLAG,
            ),
        ),
        (
            MODELS,
            dict(type='DINOLoss'),
            dict(
                temperature=NUMBER,
                target_temperature=NUMBER,
                warmup=NUMBER,
                warmup_target_temperature=NUMBER,
            ),
        ),
        (MODELS, dict(type='MinEntLoss'), dict(norm=(None, 3, ['batch']))),
        (MODELS, METHOD['head'], dict(loss=(*DICT, None), predictor=DICT)),
        (
            MODELS,
            dict(type='ERHead', loss=dict(type='ERLoss')),
            dict(loss=(*DICT, None), predictor=DICT),
        ),
        (
            MODELS,
            MINENT,
            dict(
                in_channels=NUMBER,
                out_channels=(*NUMBER, 1, [], [4, '4']),
                hid_channels=NUMBER,
                num_layers=(*NUMBER, 1),
                loss=DICT,
                norm_cfg=DICT,
            ),
        ),
        (MODELS, PROTOTYPES, dict(projector=DICT, in_channels=NUMBER, num_prototypes=NUMBER)),
        (MODELS, dict(METHOD, type='MEC'), dict(base_momentum=('1', [1], -1, 1))),
        (MODELS, dict(METHOD, type='ER'), dict(base_momentum=('1', [1], -1, 1))),
        (
            MODELS,
            dict(METHOD, type='DINO', neck=PROTOTYPES),
            dict(base_momentum=NUMBER, center_momentum=('1', [1], -1, 1)),
        ),
        (
            MODELS,
            dict(METHOD, type='WithMEC', algorithm='SimSiam', mec=dict(type='MECLoss')),
            dict(algorithm=(3, None, ['SimCLR'], 'ResNet'), mec=DICT, weight=NUMBER),
        ),
        (
            MODELS,
            dict(type='BatchNormLinearClsHead', num_classes=2, in_channels=4),
            dict(norm_cfg=DICT),
        ),
        (
            HOOKS,
            dict(type='EntropyMonitorHook'),
            dict(interval=(*NUMBER, 0, 1.5), images=(*NUMBER, 1), stop=FLAG),
        ),
        (DATASETS, dict(type='Digits'), dict(split=(3, None, ['train'], 'x'))),
        (
            DATASETS,
            dict(type='STL10', data_root='x'),
            dict(data_root=(3, None, ['x']), split=(3, None, ['train']), fold=('1', [1], -1)),
        ),
        (
            DATASETS,
            dict(type='ImageNet100', data_root='x'),
            dict(data_root=(3, None, ['x']), split=(3, None), classes_file=(3, [1])),
        ),
        (
            DATASETS,
            dict(type='TinyImageNet', data_root='x'),
            dict(data_root=(3, None, ['x']), split=(3, None)),
        ),
        (DATASETS, dict(type='LocalFashionMNIST', data_root='x'), dict(data_root=(3, None, ['x']))),
        (
            DATASETS,
            dict(type='LabelSubset', dataset=dict(type='Digits'), shots=1),
            dict(dataset=DICT, shots=('1', [1], -1, 0.5), seed=NUMBER),
        ),
        (
            DATASETS,
            dict(type='LabelSubset', dataset=dict(type='Digits'), fraction=1.0),
            dict(fraction=('1', [1], -1, 2)),
        ),
    ],
    ids=lambda value: value.get('type') if isinstance(value, dict) else None,
)
def test_constructors_name_the_argument(registry, cfg, wrong):
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError) as raised:
                registry.build(dict(cfg, **{name: value}))
            text = str(raised.value)
            assert name in text and '\n' not in text, (name, value, text)


@pytest.mark.parametrize(
    'name, value', [('k', '5'), ('k', 0), ('temperature', None), ('temperature', -1.0)]
)
def test_knn_arguments(name, value):
    x, y = torch.eye(4), torch.arange(4)
    with pytest.raises(ValueError, match=name):
        evaluation.knn_predict(x, y, x, **dict(dict(k=1), **{name: value}))


@pytest.mark.parametrize(
    'function, name, value',
    [
        ('linear_probe', 'learning_rates', '0.1'),
        ('linear_probe', 'learning_rates', [-1.0]),
        ('linear_probe', 'weight_decays', 0.1),
        ('linear_probe', 'epochs', '3'),
        ('linear_probe', 'batch_size', 0),
        ('svm_score', 'costs', 1.0),
        ('svm_score', 'costs', [-1.0]),
        ('low_shot', 'shots', [0]),
        ('low_shot', 'draws', '5'),
    ],
)
def test_arguments_of_protocols(function, name, value):
    x, y = torch.eye(4), torch.arange(4) % 2
    with pytest.raises(ValueError, match=name):
        getattr(evaluation, function)(x, y, x, y, **{name: value})


@pytest.mark.parametrize(
    'name, value', [('batch_size', 0), ('batch_size', '8'), ('num_workers', -1)]
)
def test_arguments_of_features(name, value):
    with pytest.raises(ValueError, match=name):
        evaluation.pixel_features(dict(type='Digits', pipeline=[]), **{name: value})


def test_eval_datasets_are_dicts():
    with pytest.raises(ValueError, match='eval_datasets.test must be a dict'):
        evaluation.eval_datasets(Config(dict(eval_datasets=dict(train=dict(), test='x'))))


@pytest.mark.parametrize(
    'key, message',
    [
        ('eval_dataset.test.split', "eval_dataset: did you mean 'eval_datasets'?"),
        ('eval_datasets.tets.split', 'eval_datasets.tets: eval_datasets has no argument .tets.'),
        ('test_dataloder.batch_size', "test_dataloder: did you mean 'test_dataloader'?"),
        ('test_dataloader.batchsize', 'test_dataloader.batchsize: .*; did you mean .batch_size.*'),
        ('modle.backbone.depth', "modle: did you mean 'model'?"),
    ],
)
def test_changes_that_nobody_would_read(key, message):
    """The config need not be one that trains."""
    cfg = Config(dict(model=dict(backbone=dict(type='ResNet', depth=18)), mine=dict(a=1)))
    cfg.merge_from_dict({'model.backbone.depth': 34, 'mine.b': 2, 'test_dataloader.batch_size': 3})
    check_changed(cfg, ['model.backbone.depth', 'mine.b', 'test_dataloader.batch_size'])
    cfg.merge_from_dict({key: 1})
    with pytest.raises(ValueError, match=message):
        check_changed(cfg, [key])
