"""Images that cannot be read: replaced, counted, reported once each."""

import fcntl
import logging
import os
import os.path as osp
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import Compose
from mmengine.dist import all_reduce
from mmengine.fileio import join_path, list_dir_or_file
from mmengine.hooks import Hook
from mmengine.logging import MMLogger, print_log
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.custom import find_folders
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset

from mmentropy.checks.arguments import SHARE, require

REPORT = 'bad_images.txt'


class ReplacesUnreadable(CustomDataset):
    """Image files, of which those that cannot be read are replaced.

    A base, beside a child of ``CustomDataset`` to come before it. An image is
    unreadable if the first step of the pipeline, the loader, raises or
    returns None. Nothing is drawn from the global generators for its sake.
    Links that lead nowhere are listed, and unreadable.

    In a run each is a line of ``bad_images.txt`` in the work directory: the
    path as Python's ``repr``, a tab, and why. Lines of an earlier start of
    the run stay and are not repeated.

    Args:
        on_unreadable: 'skip' warns once and takes another image, drawn by a
            generator that the index seeds; 'stop' raises.
        max_unreadable: Share of unreadable images in 0..1 above which 'skip'
            raises as well. Five are always tolerated, all never.
        **kwargs: Arguments of :class:`mmpretrain.datasets.CustomDataset`.

    Raises:
        ValueError: If ``on_unreadable`` or ``max_unreadable`` is not valid.
        OSError: If a folder cannot be listed. On reading, if an image is
            unreadable and 'stop' is set, or too many are.
    """

    def __init__(
        self, *args: Any, on_unreadable: str = 'stop', max_unreadable: float = 0.01, **kwargs: Any
    ) -> None:
        if on_unreadable not in ('skip', 'stop'):
            raise ValueError(f"on_unreadable must be 'skip' or 'stop', not {on_unreadable!r}")
        require(SHARE, max_unreadable=max_unreadable)
        self.on_unreadable = on_unreadable
        self.max_unreadable = max_unreadable
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """List the images."""
        if self._fully_initialized:
            return
        super().full_init()
        # One flag per image in shared memory: what DataLoader workers find
        # is known to all of them and to the main process.
        self._unreadable = torch.zeros(len(self), dtype=torch.bool).share_memory_()
        # A worker that is spawned does not know the run.
        self._report = report_file()

    def _find_samples(self) -> list:
        """As the host does it, links that lead nowhere included."""
        if not self.with_label:
            return self._find_images('')
        names = list_folders(self.img_prefix)
        self.folder_to_idx = {name: i for i, name in enumerate(names)}
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(names)
        elif len(self.CLASSES) != len(names):
            raise ValueError(
                f'{type(self).__name__} in {osp.abspath(self.img_prefix)}: '
                f'{len(names)} folders for {len(self.CLASSES)} classes; put '
                'one folder per class there'
            )
        samples = []
        for name, label in self.folder_to_idx.items():
            found = self._find_images(name)
            if not found:
                print_log(
                    f'class {name!r} in {osp.abspath(self.img_prefix)} has no images',
                    logger='current',
                    level=logging.WARNING,
                )
            samples += [(path, label) for path in found]
        if not samples:
            raise FileNotFoundError(
                f'no images in {osp.abspath(self.img_prefix)} and below: '
                f'looked for {" ".join(sorted(self.extensions))}'
            )
        return samples

    def _find_images(self, folder: str) -> list[str]:
        """Images in a folder of the data set and below, sorted by path."""
        files = list_files(join_path(self.img_prefix, folder))
        return [join_path(folder, file) for file in files if self.is_valid_file(file)]

    @property
    def num_unreadable(self) -> int:
        """Unreadable images met so far, in all workers of this process.

        After an epoch with :class:`BadImagesHook`, in those of all ranks.
        """
        return int(self._unreadable.sum())

    @property
    def unreadable(self) -> list[str]:
        """Paths of the unreadable images met so far."""
        return [
            self.get_data_info(i)['img_path'] for i in self._unreadable.nonzero().flatten().tolist()
        ]

    def prepare_data(self, idx: int) -> dict | None:
        """Load and transform an image, or another one if it is unreadable."""
        transforms = self.pipeline.transforms
        rng = random.Random(idx)
        while True:
            if not self._unreadable[idx]:
                error: Exception = OSError('not an image')
                # Decoders raise all sorts of errors; those of the other
                # transforms are no concern of this class.
                try:
                    loaded = Compose(transforms[:1])(self.get_data_info(idx))
                except Exception as e:
                    loaded, error = None, e
                if loaded is not None:
                    return Compose(transforms[1:])(loaded)
                self._reject(idx, error)
            idx = rng.randrange(len(self))

    def _reject(self, idx: int, error: Exception) -> None:
        """Note that an image is unreadable; raise if that is too much."""
        path = self.get_data_info(idx)['img_path']
        if self.on_unreadable == 'stop':
            raise cannot_read(path, error) from error
        self._unreadable[idx] = True
        report(self._report, path, reason(error))
        try:
            self.check_share()
        except OSError as too_many:
            # Whoever tries again is told again.
            self._unreadable[idx] = False
            raise OSError(f'{too_many}; the last: {path!r} ({reason(error)})') from error
        print_log(
            f'cannot read image {path!r} ({reason(error)}), using another '
            f'one; {self.num_unreadable} of {len(self)} unreadable so far',
            logger='current',
            level=logging.WARNING,
        )

    def check_share(self) -> None:
        """Raise if too many images are unreadable.

        Raises:
            OSError: In one line: how many, their share, where they are named.
        """
        size, count = len(self), self.num_unreadable
        # One good image at least, or the search for another would not end.
        if count > min(max(5, self.max_unreadable * size), size - 1):
            raise OSError(
                f'{count} of {size} images are unreadable '
                f'({count / size:.2%}), more than '
                f'max_unreadable={self.max_unreadable} allows; repair or '
                f'delete them{self.named_in()}'
            )

    def named_in(self) -> str:
        """Where the bad images are named, as the end of a sentence."""
        return f', see {self._report}' if self._report else ''

    def share_unreadable(self) -> None:
        """Let each rank know what the others found."""
        flags = self._unreadable.byte()
        all_reduce(flags, op='max')
        self._unreadable.copy_(flags)


@HOOKS.register_module()
class BadImagesHook(Hook):
    """After each epoch, says how many training images were unreadable.

    The ranks tell each other which, so that the share at which training stops
    is that of all of them.

    Raises:
        OSError: After an epoch, if too many were unreadable.
    """

    def after_train_epoch(self, runner: Runner) -> None:
        for dataset in replacing(runner.train_dataloader.dataset):
            dataset.share_unreadable()
            dataset.check_share()
            if dataset.num_unreadable:
                runner.logger.warning(
                    f'{dataset.num_unreadable} of {len(dataset)} images were '
                    f'unreadable{dataset.named_in()}'
                )


def replacing(dataset: Dataset) -> Iterator[ReplacesUnreadable]:
    """Those that replace unreadable images in it and in what it wraps."""
    if isinstance(dataset, ReplacesUnreadable):
        yield dataset
    inner = getattr(dataset, 'dataset', None)
    wrapped = [] if inner is None else [inner]
    for part in (*wrapped, *getattr(dataset, 'datasets', ())):
        yield from replacing(part)


def list_files(folder: str) -> list[str]:
    """Files in a folder and below, relative to it and sorted.

    Links are followed, but not in a circle; those that lead nowhere are
    listed. Hidden files and folders, pipes and devices are left out.

    Raises:
        OSError: If one of the folders cannot be listed.
    """
    if '://' in folder:
        return sorted(list_dir_or_file(folder, list_dir=False, recursive=True))
    return sorted(osp.relpath(path, folder) for path in _walk(folder, frozenset()))


def list_folders(folder: str) -> list[str]:
    """Names of the folders in a folder, sorted, but for hidden ones.

    Raises:
        OSError: If the folder cannot be listed.
    """
    if '://' in folder:
        return find_folders(folder)[0]
    return sorted(osp.basename(path) for path, is_folder in _entries(folder) if is_folder)


def _walk(folder: str, above: frozenset[str]) -> Iterator[str]:
    """Like :func:`list_files`, without order; ``above``: real folders."""
    real = osp.realpath(folder)
    if real in above:
        return
    for path, is_folder in _entries(folder):
        if is_folder:
            yield from _walk(path, above | {real})
        else:
            yield path


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    """Paths in a folder, and whether they are folders themselves."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise OSError(
            f'cannot list folder {folder!r} ({error.strerror}): make it '
            'readable or take it out of the data'
        ) from error
    for entry in entries:
        path, link = entry.path, entry.is_symlink()
        if entry.name.startswith('.'):
            continue
        # entry.is_dir() alone raises at a link to itself.
        if osp.isdir(path) if link else entry.is_dir():
            yield path, True
        elif osp.isfile(path) if link else entry.is_file():
            yield path, False
        elif link and not osp.exists(path):
            if not osp.splitext(path)[1]:
                print_log(
                    f'link {path!r} leads nowhere; was it a folder of images?',
                    logger='current',
                    level=logging.WARNING,
                )
            yield path, False


def reason(error: Exception) -> str:
    """Why an image cannot be read, in one line."""
    cause = error.__cause__ or error
    text = getattr(cause, 'strerror', None) or str(cause)
    return ' '.join(text.split()) or type(cause).__name__


def cannot_read(path: str, error: Exception) -> OSError:
    """The error that says which image, why, and what to do."""
    return OSError(f'cannot read image {path!r} ({reason(error)}): repair, replace or delete it')


def report_file() -> Path | None:
    """``bad_images.txt`` of the current run, None if there is no run."""
    # All ranks know the log file, WORK_DIR/TIME/TIME.log; only the first
    # writes to it.
    log = MMLogger.get_current_instance().log_file
    return Path(log).parent.with_name(REPORT) if log else None


def report(file: Path | None, path: str, why: str) -> None:
    """Append a line about an image, unless it has one."""
    if file is None:
        return
    name = repr(path if '://' in path else osp.abspath(path))
    try:
        with open(file, 'a+', encoding='utf-8', errors='replace') as lines:
            # Workers and ranks take turns; closing the file unlocks it.
            fcntl.flock(lines, fcntl.LOCK_EX)
            lines.seek(0)
            if not any(line.split('\t')[0] == name for line in lines):
                lines.write(f'{name}\t{why}\n')
    except OSError as error:
        print_log(f'cannot write {file} ({error})', logger='current', level=logging.WARNING)
