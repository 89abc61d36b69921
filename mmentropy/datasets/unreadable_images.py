"""Images that cannot be read: replaced, counted, reported once each."""

import fcntl
import os.path as osp
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import Compose
from mmengine.dist import all_reduce
from mmengine.fileio import join_path
from mmengine.logging import MMLogger
from mmpretrain.datasets import CustomDataset
from torch.utils.data import Dataset

from mmentropy.checks.arguments import SHARE, one_of, require
from mmentropy.datasets.image_listing import list_files, list_folders, warn
from mmentropy.datasets.wrapped import with_wrapped


class ReplacesUnreadable(CustomDataset):
    """Image files, of which those that cannot be read are replaced.

    This is a base class; beside another child of ``CustomDataset`` it comes first. An image is
    unreadable if the first step of the pipeline, the loader, raises or returns None; so are links
    that lead nowhere. Replacing draws nothing from the global generators.

    In a run each unreadable image is a line of ``bad_images.txt`` in the work directory: the path
    as Python's ``repr``, a tab, and the reason. Lines of an earlier start stay, once each.

    Args:
        on_unreadable: 'skip' warns once and takes another image, drawn by a generator that the
            index seeds; 'stop' raises.
        max_unreadable: share of unreadable images in 0..1 above which 'skip' raises as well. Five
            are always tolerated, all of them never.
        **kwargs: arguments of :class:`mmpretrain.datasets.CustomDataset`.

    Raises:
        ValueError: ``on_unreadable`` or ``max_unreadable`` is not valid.
        OSError: a folder cannot be listed. On reading: an image is unreadable and 'stop' is set,
            or too many are.
    """

    def __init__(
        self, *args: Any, on_unreadable: str = 'stop', max_unreadable: float = 0.01, **kwargs: Any
    ) -> None:
        require(one_of(('skip', 'stop')), on_unreadable=on_unreadable)
        require(SHARE, max_unreadable=max_unreadable)
        self.on_unreadable = on_unreadable
        self.max_unreadable = max_unreadable
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """List the images."""
        if self._fully_initialized:
            return
        super().full_init()
        # There is one flag per image in shared memory: all DataLoader workers and the main process
        # know what one of them finds.
        self._unreadable = torch.zeros(len(self), dtype=torch.bool).share_memory_()
        # A worker that is spawned does not know the run: the main process asks for the file.
        self._report = report_file()

    def _find_samples(self) -> list:
        """List the images as the host does, and links that lead nowhere too."""
        if not self.with_label:
            return self._find_images('')
        root = osp.abspath(self.img_prefix)
        names = list_folders(self.img_prefix)
        self._metainfo.setdefault('classes', tuple(names))
        self.folder_to_idx = {name: i for i, name in enumerate(self._numbered(names, root))}
        found = {name: self._find_images(name) for name in names}
        samples = [(path, self.folder_to_idx[name]) for name in found for path in found[name]]
        if not samples:
            flat = self._find_images('')
            if flat:
                raise FileNotFoundError(
                    f'no class folders with images in {root}, where {len(flat)} images lie, such '
                    f'as {flat[0]}: put those of each class into a folder, or take an ImageFolder, '
                    'which needs no classes'
                )
            raise FileNotFoundError(
                f'no images in {root} and below: looked for {" ".join(sorted(self.extensions))}'
            )
        for name in self.folder_to_idx:
            if not found.get(name):
                warn(f'class {name!r} in {root} has no images')
        return samples

    def _numbered(self, names: list[str], root: str) -> Sequence[str]:
        """Return the folders in the order of their labels, those of absent classes as well.

        It is that of the classes where these are names of folders. Classes that are named otherwise
        than all folders have one folder each, in sorted order.
        """
        others = [name for name in names if name not in self.CLASSES]
        if not others:
            return self.CLASSES
        if len(others) < len(names):
            raise ValueError(
                f'{type(self).__name__} in {root}: {len(names)} folders for {len(self.CLASSES)} '
                f'classes, which other folders are named by, but {others[0]!r} is not: add it to '
                'the classes, or take it away'
            )
        if len(self.CLASSES) != len(names):
            raise ValueError(
                f'{type(self).__name__} in {root}: {len(names)} folders for '
                f'{len(self.CLASSES)} classes; put one folder per class there'
            )
        return names

    def _find_images(self, folder: str) -> list[str]:
        """List the images in a folder of the data set and below, sorted by path."""
        files = list_files(join_path(self.img_prefix, folder))
        return [join_path(folder, file) for file in files if self.is_valid_file(file)]

    @property
    def num_unreadable(self) -> int:
        """Number of unreadable images met so far, in all workers of this process.

        After an epoch with ``BadImagesHook`` it is that of all ranks.
        """
        return int(self._unreadable.sum())

    @property
    def unreadable(self) -> list[str]:
        """Paths of the unreadable images met so far."""
        rows = self._unreadable.nonzero().flatten().tolist()
        return [self.get_data_info(row)['img_path'] for row in rows]

    def prepare_data(self, idx: int) -> dict | None:
        """Load and transform an image, or another one if it is unreadable."""
        rng = None
        while True:
            loaded = None if self._unreadable[idx] else self._load(idx)
            if loaded is not None:
                return Compose(self.pipeline.transforms[1:])(loaded)
            # Most images are readable, and need no generator.
            rng = rng or random.Random(idx)
            idx = rng.randrange(len(self))

    def _load(self, idx: int) -> dict | None:
        """Load an image; None if it is unreadable, which is noted and may raise."""
        # Decoders raise errors of many types. Errors of the other transforms are not caught.
        try:
            loaded = Compose(self.pipeline.transforms[:1])(self.get_data_info(idx))
        except Exception as error:
            self._reject(idx, error)
            return None
        if loaded is None:
            self._reject(idx, OSError('not an image'))
        return loaded

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
        warn(
            f'cannot read image {path!r} ({reason(error)}), using another '
            f'one; {self.num_unreadable} of {len(self)} unreadable so far'
        )

    def check_share(self) -> None:
        """Raise if too many images are unreadable.

        Raises:
            OSError: in one line: how many, their share, where they are named.
        """
        size, count = len(self), self.num_unreadable
        # Without one good image at least, the search for another would not end.
        if count > min(max(5, self.max_unreadable * size), size - 1):
            raise OSError(
                f'{count} of {size} images are unreadable ({count / size:.2%}), more than '
                f'max_unreadable={self.max_unreadable} allows; repair or '
                f'delete them{self.named_in()}'
            )

    def named_in(self) -> str:
        """Return where the bad images are named, as the end of a sentence."""
        return f', see {self._report}' if self._report else ''

    def share_unreadable(self) -> None:
        """Let each rank know what the others found."""
        flags = self._unreadable.byte()
        all_reduce(flags, op='max')
        self._unreadable.copy_(flags)


def replacing(dataset: Dataset) -> Iterator[ReplacesUnreadable]:
    """Yield the data sets that replace unreadable images: this one, and those it wraps."""
    return (part for part in with_wrapped(dataset) if isinstance(part, ReplacesUnreadable))


def reason(error: Exception) -> str:
    """Return why an image cannot be read, in one line."""
    cause = error.__cause__ or error
    text = getattr(cause, 'strerror', None) or str(cause)
    return ' '.join(text.split()) or type(cause).__name__


def cannot_read(path: str, error: Exception) -> OSError:
    """Return the error that says which image, why, and what to do."""
    return OSError(f'cannot read image {path!r} ({reason(error)}): repair, replace or delete it')


def report_file() -> Path | None:
    """Return ``bad_images.txt`` of the current run, None if there is no run."""
    # All ranks know the log file, WORK_DIR/TIME/TIME.log, though only the first writes to it.
    log = MMLogger.get_current_instance().log_file
    return Path(log).parent.with_name('bad_images.txt') if log else None


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
        warn(f'cannot write {file} ({error})')
