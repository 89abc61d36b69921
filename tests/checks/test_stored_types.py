"""What a config that came with a file may name."""

import os
import sys
from contextlib import suppress

import pytest
from hostile_configs import MODULE, hostile, plain
from messages import one_line
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS

import mmentropy  # noqa: F401, puts our look-up in mmengine's place
from mmentropy.checks.stored_types import any_types, check_stored, registered_types_only
from mmentropy.evaluation import build_backbone, build_data_preprocessor

NAMES = [
    'backbone', 'norm', 'convolution', 'module', 'initialiser', 'scope', 'scope_of_type',
    'default_scope', 'preprocessor', 'own_preprocessor', 'dataset', 'wrapped', 'listed',
    'pickle', 'yaml', 'sampler', 'collate', 'imports', 'one_import', 'timm', 'hub', 'transform',
    'nested', 'applied', 'side_key', 'expression', 'late_expression', 'albumentations',
    'function', 'client',
]  # fmt: skip
# No check can see what these would do before they are built.
SEEN_LATE = ('pickle', 'yaml', 'side_key', 'module')


@pytest.fixture
def attacks(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield hostile(tmp_path)
    for name in [name for name in sys.modules if name.startswith(MODULE)]:
        del sys.modules[name]


def build_all(config):
    cfg = Config(config)
    build_backbone(cfg)
    build_data_preprocessor(cfg)
    for entry in cfg.eval_datasets.values():
        DATASETS.build(entry)[0]


def test_every_attack_has_a_name(attacks):
    assert sorted(attacks[0]) == sorted(NAMES)


def test_a_harmless_config_passes():
    check_stored(plain())
    with registered_types_only():
        build_all(plain())


@pytest.mark.parametrize('name', NAMES)
def test_a_hostile_config_is_refused_before_it_is_built(attacks, name):
    configs, canary = attacks
    if name in SEEN_LATE:
        check_stored(configs[name])
    else:
        with pytest.raises(ValueError, match='refused: a stored config .* --trust') as error:
            check_stored(configs[name])
        one_line(error)
    assert not canary.exists()


@pytest.mark.parametrize('name', ['norm', 'backbone', 'dataset', 'listed', *SEEN_LATE])
def test_what_is_built_imports_and_unpickles_nothing(attacks, name):
    """The second line of defence, for what an argument of a registered type names."""
    configs, canary = attacks
    with suppress(Exception), registered_types_only():
        build_all(configs[name])
    assert not canary.exists()


@pytest.mark.parametrize('name', ['backbone', 'norm', 'pickle', 'yaml', 'dataset', 'side_key'])
def test_the_attacks_do_harm_where_they_are_trusted(attacks, name):
    configs, canary = attacks
    with suppress(Exception):
        build_all(configs[name])
    assert canary.exists()


def test_written_out_paths_of_registered_types_are_known():
    from mmpretrain.models import ResNet

    with registered_types_only():
        for name in ('mmpretrain.ResNet', 'mmpretrain.models.backbones.resnet.ResNet'):
            assert MODELS.get(name) is ResNet
        with pytest.raises(ValueError, match="type 'mmengine.fileio.remove', which is not"):
            MODELS.get('mmengine.fileio.remove')
    assert MODELS.get('mmengine.fileio.remove')


@pytest.mark.parametrize('forced', [None, '0'])
def test_what_a_user_names_beside_a_stored_config_is_not_restricted(forced, monkeypatch):
    variable = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
    monkeypatch.setenv(variable, '')
    monkeypatch.delenv(variable) if forced is None else monkeypatch.setenv(variable, forced)
    with registered_types_only(), registered_types_only():
        with any_types():
            assert MODELS.get('mmengine.fileio.remove')
            assert os.environ.get(variable) == forced
        with pytest.raises(ValueError, match='which is not registered'):
            MODELS.get('mmengine.fileio.remove')
        assert os.environ[variable] == '1'
    assert os.environ.get(variable) == forced


@pytest.mark.parametrize(
    'config',
    [
        dict(custom_imports=['os']),
        dict(custom_imports=dict(imports=[3])),
        dict(a=[dict(type=['x'])]),
        dict(a=[dict(type='nms if 1 else 2')]),
        dict(a=dict(type='x' * 100_000 + '()')),
        dict(model='x'),
        dict(train_dataloader=dict(dataset=[1])),
    ],
)
def test_odd_values_are_refused_in_a_short_line(config):
    with pytest.raises(ValueError, match='refused|must be a dict') as error:
        check_stored(config)
    assert len(one_line(error)) < 400
