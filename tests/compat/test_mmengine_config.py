"""Configs are found and formatted once."""

from mmengine.config import Config

from mmentropy.compat import mmengine_config

BASE = "_base_ = 'mmpretrain::_base_/default_runtime.py'\n"


def test_the_text_is_that_of_mmengine_after_each_change():
    cfg = Config(dict(a=1, part=dict(b=[2])))
    for change in (dict(), {'part.b': [3]}, dict(a='text')):
        cfg.merge_from_dict(change)
        assert cfg.pretty_text == mmengine_config._format(cfg)
    assert Config(dict(a=2)).pretty_text == 'a = 2\n'


def test_bases_of_packages_are_not_mixed_up(tmp_path):
    for folder in ('one', 'two'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'local.py').write_text(f'name = {folder!r}\n')
        config = tmp_path / folder / 'config.py'
        config.write_text(BASE)
        both = tmp_path / folder / 'both.py'
        both.write_text("_base_ = ['mmpretrain::_base_/default_runtime.py', 'local.py']\n")
        assert Config.fromfile(config).default_scope == 'mmpretrain'
        assert Config.fromfile(both).name == folder
