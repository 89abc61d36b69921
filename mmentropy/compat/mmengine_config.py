"""Packages that configs may inherit from, and the text of a config, which is made once.

Host: mmengine 0.10.7 and onedl-mmengine 0.10.12, which know the packages of OpenMMLab by a fixed
list and refuse others. They also mark what is inherited with the name of the package, and look for
its types in a registry of that name. The types of mmentropy are in those of mmpretrain, and
its configs name the scope that they are built in. The list has a distribution 'mmsegmentation' for
``mmseg::...``, whose fork is named onedl-mmsegmentation; by the name of the module either is found.
mmengine reads every metafile of a package to find one config in it, which takes longer than all the
rest of reading a config; a process does it once for each config. It also formats the whole config
with yapf whenever a checkpoint is saved.
It can go when mmengine looks for the module of a package itself, and keeps what it has read and
formatted.
"""

from functools import cache

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

_get_cfg_path = Config._get_cfg_path
_get_packaged_path = cache(_get_cfg_path)
_format = Config.pretty_text.fget
# The text of the config that was formatted last, by its content.
_texts: dict[str, str] = {}


def accept_packages() -> None:
    """Let configs inherit from ``mmentropy::...``, and from ``mmseg::...`` of the fork."""
    MODULE2PACKAGE['mmentropy'] = 'mmentropy'
    MODULE2PACKAGE['mmseg'] = 'mmseg'
    Config._get_cfg_path = staticmethod(path_and_scope)  # type: ignore[method-assign]


def format_once() -> None:
    """Let a config that has not changed be formatted only once."""
    Config.pretty_text = property(pretty_text)  # type: ignore[method-assign, assignment]


def pretty_text(cfg: Config) -> str:
    """Return what ``Config.pretty_text`` does."""
    content = repr(cfg._cfg_dict)
    if content not in _texts:
        _texts.clear()
        _texts[content] = _format(cfg)
    return _texts[content]


def path_and_scope(cfg_path: str, filename: str) -> tuple[str, str | None]:
    """Return the path of a base config and the scope of its types, None for that of the config."""
    if '::' not in cfg_path:
        return _get_cfg_path(cfg_path, filename)
    path, scope = _get_packaged_path(cfg_path, '')
    return path, None if scope == 'mmentropy' else scope
