"""The toy of docs/adding_a_method.md: its code trains, and its test passes."""

import ast
import re
import sys
import types

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from repository import REPOSITORY

import mmentropy.functional
import mmentropy.models  # noqa: F401

PAGE = REPOSITORY / 'docs/adding_a_method.md'


@pytest.fixture
def files(monkeypatch):
    """The text of each file on the page; its modules can be imported."""
    text = PAGE.read_text(encoding='utf-8')
    found = {
        path: code for path, code in re.findall(r'```python\n# (\S+)\n(.*?)```', text, re.DOTALL)
    }
    registered = dict(MODELS.module_dict)
    for path in ('mmentropy/functional/spread.py', 'mmentropy/models/spread.py'):
        name = path.removesuffix('.py').replace('/', '.')
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(found[path], path, 'exec'), vars(module))
    yield found
    for name in MODELS.module_dict.keys() - registered.keys():
        del MODELS._module_dict[name]


def test_the_page_has_all_code(files):
    assert list(files) == [
        'mmentropy/functional/spread.py',
        'mmentropy/models/spread.py',
        'mmentropy/models/__init__.py',
        'configs/spread/spread_r18s_1xb64_50e_digits.py',
        'tests/functional/test_spread.py',
    ]
    namespace = {}
    exec(files['mmentropy/models/__init__.py'], namespace)
    assert namespace['Spread'] is MODELS.get('Spread')
    recipe = 'configs/spread/spread_r18s_1xb64_50e_digits.py'
    header = ast.get_docstring(ast.parse(files[recipe])).splitlines()
    # tests/configs/test_recipes.py asks this of a recipe.
    assert header[2:] == ['Ours: not run.', f'Run: python tools/train.py {recipe}']


def test_its_test_passes(files):
    namespace = {}
    exec(files['tests/functional/test_spread.py'], namespace)
    tests = [value for name, value in namespace.items() if name.startswith('test_')]
    assert tests
    for test in tests:
        test()


@pytest.mark.slow
def test_its_recipe_trains(files, tmp_path):
    (tmp_path / 'configs').mkdir()
    for folder in (REPOSITORY / 'configs').iterdir():
        (tmp_path / 'configs' / folder.name).symlink_to(folder)
    path = tmp_path / 'configs/spread/spread_r18s_1xb64_50e_digits.py'
    path.parent.mkdir()
    path.write_text(files['configs/spread/spread_r18s_1xb64_50e_digits.py'])
    cfg = Config.fromfile(path)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.indices = 128
    cfg.train_cfg.max_epochs = 1
    cfg.custom_hooks = cfg.param_scheduler = None
    runner = Runner.from_cfg(cfg)
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.train()
    logged = runner.message_hub.log_scalars
    assert 0 < logged['train/alignment'].current() < 4
    assert -8 < logged['train/spread'].current() < 0
    assert all(not torch.equal(p, b) for p, b in zip(runner.model.parameters(), before))
