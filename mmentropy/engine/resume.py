"""Finding the checkpoint that a run goes on from."""

import logging
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmentropy.compat.mmengine_checkpoint import hand_over, handed_over
from mmentropy.engine.checkpoint_room import NUMBER
from mmentropy.weights.reader import read_checkpoint

# The name of a checkpoint that was saved on a signal, before the number of its iteration.
INTERRUPTED = 'interrupted'


def choose_checkpoint(cfg: Config, otherwise: str | None = None) -> None:
    """Set ``load_from`` of a config to a checkpoint that was read, and is handed over to mmengine.

    Args:
        cfg: A config with a ``work_dir``. If it resumes and has no ``load_from``, a checkpoint is
            looked for; if there is none, it does not resume any more.
        otherwise: The weights to begin with if there is nothing to resume.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: The checkpoint that the config names is
            absent or damaged, or none in the work directory can be read.
    """
    folder = folder_of(cfg)
    if not cfg.get('load_from') and cfg.get('resume') and folder is not None:
        template = _checkpoint_hook_of(cfg).get('filename_tmpl') or ''
        last = Path(cfg.work_dir, 'last_checkpoint')
        last_name = Path(last.read_text().strip()).name if last.is_file() else ''
        path = newest_checkpoint(folder, template, last_name)
        if path is None:
            begin = f', from {otherwise}' if otherwise else ''
            print_log(f'no checkpoint in {folder}: training begins anew{begin}', logger='current')
            cfg.resume = False
            cfg.load_from = otherwise
        else:
            cfg.load_from = str(path)
    if cfg.get('load_from') and '://' not in cfg.load_from:
        cfg.load_from = os.path.expanduser(cfg.load_from)
        if handed_over(cfg.load_from) is None:
            hand_over(cfg.load_from, read_checkpoint(cfg.load_from))


def _checkpoint_hook_of(cfg: Config) -> dict:
    return (cfg.get('default_hooks') or {}).get('checkpoint') or {}


def folder_of(cfg: Config) -> Path | None:
    """Return where the CheckpointHook saves; None if only mmengine can look there."""
    out_dir = _checkpoint_hook_of(cfg).get('out_dir')
    # mmengine compares the two in the same way.
    if out_dir is None or out_dir == os.path.abspath(cfg.work_dir):
        return Path(cfg.work_dir)
    if '://' in str(out_dir):
        return None
    return Path(out_dir, Path(cfg.work_dir).name)


def newest_checkpoint(folder: str | Path, template: str = '', last: str = '') -> Path | None:
    """Return the newest checkpoint of a run that is as it was written; None if there is none.

    Its content is handed over to mmengine. One that cannot be read is reported by a warning.

    Args:
        folder: It holds ``epoch_{n}.pth``, ``iter_{n}.pth`` and ``interrupted_{n}.pth``.
        template: Another name that checkpoints may have, with {} for the number.
        last: The name of the one that was saved last, which is taken if it is good. Without it the
            one of most iterations is the newest, which an earlier attempt may have left.

    Raises:
        ValueError: There are some, but none can be read.
    """
    folder = Path(folder)
    templates = [template, *(f'{kind}_{{}}.pth' for kind in ('epoch', 'iter', INTERRUPTED))]
    damaged: set[Path] = set()

    def first_readable(paths: Iterable[Path]) -> tuple[float, Path, dict] | None:
        """Return the iteration, path and content of the first one that can be read."""
        for path in paths:
            if path in damaged or not path.is_file():
                continue
            try:
                checkpoint = read_checkpoint(path)
            except (OSError, ValueError) as error:
                damaged.add(path)
                report = f'{error}; an older one is looked for'
                print_log(report, logger='current', level=logging.WARNING)
            else:
                meta = checkpoint.get('meta') or {}
                return meta.get('iter', -math.inf), path, checkpoint
        return None

    found = first_readable([folder / last] if last else [])
    if found is None:
        kinds = (_newest_first(folder, text) for text in dict.fromkeys(templates) if text)
        readable = filter(None, map(first_readable, kinds))
        found = max(readable, key=lambda item: item[:2], default=None)
    if found is not None:
        _, path, checkpoint = found
        hand_over(path, checkpoint)
        return path
    if damaged:
        raise ValueError(
            f'none of the {len(damaged)} checkpoints in {folder} can be read, see above: name '
            'another one, --resume PATH, or begin anew in another --work-dir'
        )
    return None


def _newest_first(folder: Path, template: str) -> list[Path]:
    """Return the files of a folder with names by a template, those of high numbers first."""
    before, after = NUMBER.split(template, maxsplit=1)
    pattern = re.compile(rf'{re.escape(before)}(\d+){re.escape(after)}')
    found = [(pattern.fullmatch(path.name), path) for path in folder.glob('*')]
    numbered = sorted((int(match[1]), path) for match, path in found if match)
    return [path for _, path in reversed(numbered)]
