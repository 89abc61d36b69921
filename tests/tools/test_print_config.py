"""tools/config.py: the file of every value, parts, options, errors."""

import subprocess
import sys

import config
import pytest
from repository import REPOSITORY

RECIPE = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
model = dict(type='A', depth=18, head=dict(type='H', order=4, scale=(1, 2)))
steps = [dict(type='Crop', size=32), dict(type='Flip', p=0.5)]
hooks = [dict(type='K')]
randomness = dict(seed=3)
"""
VARIANT = """
_base_ = 'recipe.py'
model = dict(depth=50, head=dict(_delete_=True, type='H', order=2))
steps = [dict(type='Crop', size=32), dict(type='Flip', p=1.0)]
hooks = [dict(type='K'), dict(type='M')]
randomness = dict(seed=3)
"""


@pytest.fixture
def variant(tmp_path, monkeypatch):
    monkeypatch.setattr(config, 'CONFIGS', tmp_path)
    config.read.cache_clear()
    (tmp_path / 'recipe.py').write_text(RECIPE)
    (tmp_path / 'own').mkdir()
    path = tmp_path / 'own' / 'variant.py'
    path.write_text(VARIANT.replace("'recipe.py'", "'../recipe.py'"))
    yield str(path)
    config.read.cache_clear()


OURS, BASE, HOST = 'own/variant.py', 'recipe.py', 'mmpretrain::_base_/default_runtime.py'


def test_file_of_every_value(variant):
    merged, origins = config.read(variant)
    assert merged['model'] == dict(type='A', depth=50, head=dict(type='H', order=2))
    # The type of the head is what it was, though the dict was replaced.
    assert origins['model'] == dict(type=BASE, depth=OURS, head=dict(type=BASE, order=OURS))
    assert origins['randomness'] == dict(seed=BASE, deterministic=HOST)
    assert origins['log_level'] == HOST
    assert origins['default_hooks']['logger'] == dict(type=HOST, interval=HOST)
    assert '_scope_' not in str(merged)


@pytest.mark.slow
def test_lists(variant):
    """Places of a list are compared one by one, unless its length is another."""
    _, origins = config.read(variant)
    assert origins['steps'] == {
        '0': dict(type=BASE, size=BASE),
        '1': dict(type=BASE, p=OURS),
    }
    assert origins['hooks'] == {'0': dict(type=OURS), '1': dict(type=OURS)}


def test_file_without_bases(tmp_path):
    path = tmp_path / 'alone.py'
    path.write_text('a = dict(b=[1, 2], c=[])\n')
    merged, origins = config.read(str(path))
    assert merged == dict(a=dict(b=[1, 2], c=[]))
    assert origins == dict(a=dict(b=str(path), c=str(path)))


def run(*args):
    done = subprocess.run(
        [sys.executable, REPOSITORY / 'tools/config.py', *args],
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


TABLE5 = 'configs/mec/table5/table5_order2_r50_8xb128_100e_in1k.py'
PAPER = 'mec/paper_r50_8xb128_100e_in1k.py'


@pytest.mark.slow
def test_command_prints_a_part():
    status, out, _ = run(TABLE5, 'model.head.loss')
    assert status == 0
    assert [line.split() for line in out] == [
        ['model.head.loss:'],
        ['type:', "'MECLoss'", PAPER],
        ['distortion:', '0.06', PAPER],
        ['taylor_order:', '2', TABLE5.removeprefix('configs/')],
        ['warmup:', '0.1', PAPER],
        ['warmup_factor:', '8.0', PAPER],
        ['guard:', 'False', PAPER],
    ]
    # Files stand below each other.
    assert len({line.index('mec/') for line in out[1:]}) == 1


@pytest.mark.slow
def test_command_prints_everything_with_options():
    options = ['--cfg-options', 'param_scheduler.0.end=3', 'model.base_momentum=0.5', 'new.key=1']
    status, out, _ = run(TABLE5, *options)
    assert status == 0
    changed = [line.split() for line in out if line.endswith('--cfg-options')]
    assert changed == [
        ['base_momentum:', '0.5', '--cfg-options'],
        ['end:', '3', '--cfg-options'],
        ['key:', '1', '--cfg-options'],
    ]
    tops = [line.split(':')[0] for line in out if not line.startswith(' ')]
    assert {'default_scope', 'model', 'train_dataloader', 'optim_wrapper', 'new'} <= {*tops}
    # A value that is longer than the column pushes its file, and nothing is lost.
    assert all(len(line.split()) >= 2 for line in out if not line.endswith(':'))


@pytest.mark.slow
@pytest.mark.parametrize(
    'args, words',
    [
        ((TABLE5, 'model.hed'), "no key 'hed' in model; did you mean 'head'?"),
        ((TABLE5, 'xyz'), "no key 'xyz' at the top of the config; there is: default_scope"),
        ((TABLE5, 'model.type.x'), "no key 'x' in model.type; it is a value"),
        (('configs/none.py',), 'configs/none.py'),
    ],
)
def test_errors_are_one_line(args, words):
    status, out, err = run(*args)
    assert status == 1 and out == []
    assert err[-1].startswith('error: ') and words in err[-1]
    assert not any('Traceback' in line for line in err)


def test_configs_that_import_their_bases_are_refused(tmp_path):
    (tmp_path / 'base.py').write_text('a = 1\n')
    path = tmp_path / 'lazy.py'
    path.write_text(
        'from mmengine.config import read_base\nwith read_base():\n    from .base import *\n'
    )
    with pytest.raises(ValueError, match=r'read_base\(\), which cannot be followed'):
        config.read(str(path))
