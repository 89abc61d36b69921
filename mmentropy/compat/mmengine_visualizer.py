"""Visualizers that survive a full disk.

Host: onedl-mmengine 0.10.12 and mmengine 0.10.7, whose visualizer back ends end the training if
they cannot write a scalar. A config names the visualizer and its back ends, foreign configs too,
so that a back end of ours would not be asked. It can go when mmengine reports such an error and
goes on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.runner import Runner


def forgive_failed_writes(runner: Runner) -> None:
    """Let the visualizer of a run go on where scalars cannot be written, and log that."""
    for backend in runner.visualizer._vis_backends.values():
        for name in ('add_scalar', 'add_scalars'):
            write = forgiving(getattr(backend, name), Path(backend._save_dir), runner)
            setattr(backend, name, write)


def forgiving(write: Callable[..., None], folder: Path, runner: Runner) -> Callable[..., None]:
    """Return a function that makes the folder and calls ``write``, and logs a failure once."""
    reported: set[str] = set()

    def try_to_write(*args: Any, **kwargs: Any) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(*args, **kwargs)
        except OSError as error:
            if str(error) not in reported:
                reported.add(str(error))
                runner.logger.error(f'scalars were not written: {error}; training goes on')

    return try_to_write
