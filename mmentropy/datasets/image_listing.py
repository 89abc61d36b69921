"""Lists the files and folders of a data set; links that lead nowhere are listed too."""

import logging
import os
import os.path as osp
from collections.abc import Iterator

from mmengine.fileio import list_dir_or_file, list_from_file
from mmengine.logging import print_log
from mmpretrain.datasets.custom import find_folders


def list_files(folder: str) -> list[str]:
    """List the files in a folder and below, relative to it and sorted.

    Links are followed; those that lead nowhere are listed. A folder to which several links lead is
    listed once, which is logged. Hidden files and folders, pipes and devices are left out.

    Raises:
        OSError: one of the folders cannot be listed.
    """
    if '://' in folder:
        return sorted(list_dir_or_file(folder, list_dir=False, recursive=True))
    return sorted(osp.relpath(path, folder) for path in _walk(folder))


def list_folders(folder: str) -> list[str]:
    """List the names of the folders in a folder, sorted, without hidden ones.

    Raises:
        OSError: the folder cannot be listed.
    """
    if '://' in folder:
        return find_folders(folder)[0]
    return sorted(osp.basename(path) for path, is_folder in _entries(folder) if is_folder)


def listed_names(file: str | os.PathLike) -> set[str]:
    """Return the names that a file lists, one a line, without the spaces around them."""
    return {line.strip() for line in list_from_file(file)} - {''}


def _walk(folder: str) -> Iterator[str]:
    """Yield the files of :func:`list_files`."""
    # The real folders that were listed, so that links double nothing, however they are laid.
    seen, again = set(), []
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        if osp.realpath(folder) in seen:
            again.append(folder)
            continue
        seen.add(osp.realpath(folder))
        entries = sorted(_entries(folder), reverse=True)
        yield from (path for path, is_folder in entries if not is_folder)
        waiting += [path for path, is_folder in entries if is_folder]
    if again:
        warn(
            f'{len(again)} links lead to folders that were listed already, such as {again[0]!r}; '
            'their images count once'
        )


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    """Yield the paths in a folder, and whether they are folders themselves."""
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
        # entry.is_dir() raises at a link to itself, osp.isdir does not.
        if osp.isdir(path) if link else entry.is_dir():
            yield path, True
        elif osp.isfile(path) if link else entry.is_file():
            yield path, False
        elif link and not osp.exists(path):
            if not osp.splitext(path)[1]:
                warn(f'link {path!r} leads nowhere; was it a folder of images?')
            yield path, False


def warn(text: str) -> None:
    """Log a warning."""
    print_log(text, logger='current', level=logging.WARNING)
