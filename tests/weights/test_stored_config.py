"""Configs that checkpoints store."""

import pytest
import torch
from mmengine.config import Config

from mmentropy.weights.stored_config import config_of, plain_config


@pytest.mark.slow
def test_config_of_a_real_checkpoint(trained):
    path, runner = trained
    cfg = config_of(path)
    assert isinstance(cfg, Config)
    assert cfg.to_dict() == runner.cfg.to_dict()


@pytest.mark.parametrize(
    'text, message',
    [
        (None, 'holds no config'),
        ('import os', 'no assignment'),
        ('a = open("x")', 'malformed'),
        ('a = dict(b=[__import__("os").getcwd()])', 'malformed'),
        ('a = dict(**globals())', 'malformed'),
        ('a = dict(**{"b": 1})', 'malformed'),
        ('a = dict({"b": open("x")})', 'malformed'),
        ('a = dict({**b})', 'malformed|None'),
        ('a = dict({1: 2}, {3: 4})', 'malformed'),
        ('a = dict([(1, 2)])', 'malformed'),
        ('a = (', 'never closed'),
        ('a.b = 1', 'Name|id'),
    ],
)
def test_config_with_code_is_not_run(tmp_path, text, message):
    path = tmp_path / 'code.pth'
    torch.save(dict(state_dict={}, meta=dict(cfg=text)), path)
    with pytest.raises(ValueError, match=message) as error:
        config_of(path)
    assert '\n' not in str(error.value)


def test_config_imports_what_it_names(tmp_path):
    path = tmp_path / 'imports.pth'
    text = "custom_imports = dict(imports=['no_such_module_here'])\n"
    torch.save(dict(meta=dict(cfg=text)), path)
    with pytest.raises(ValueError, match="imports 'no_such_module_here'.* add --trust"):
        config_of(path)
    with pytest.raises(ImportError, match='no_such_module_here, .* beside that module, or put'):
        config_of(path, trust=True)


def test_keys_that_are_no_names_are_read():
    """Mmengine writes them so, the keys of ``custom_keys`` for example."""
    cfg = Config(dict(a=dict({'.bias': dict(lr_mult=2), 'b c': 1}, d=[dict({'x.y': 3})])))
    assert 'dict({' in cfg.pretty_text
    assert plain_config(cfg.pretty_text).to_dict() == cfg.to_dict()
    assert plain_config('a = dict({"x.y": 1}, b=2)').a == {'x.y': 1, 'b': 2}


def test_a_text_that_is_too_long_or_too_deep_for_a_config_is_refused():
    for text in ('a = 1\n' * 200_000, 'a = ' + '[' * 50_000, 'a = ' + '-' * 100_000 + '1'):
        with pytest.raises(ValueError) as error:
            plain_config(text)
        assert len(str(error.value)) < 200
