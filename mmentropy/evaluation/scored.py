"""Whether the score of a labelled data set by another means something."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log


class NoScoreError(ValueError):
    """A score would mean nothing, whatever the network gives."""


def check_scored(train: Any, test: Any) -> None:
    """Check by what two data sets list, before an image is read, that a score means something.

    Images or classes that make the score too high or too low are a warning where they are some.
    Data sets that list nothing are not looked at.

    Args:
        train: A data set, of which ``get_data_info`` gives path or pixels and class of an image.
        test: Likewise.

    Raises:
        ValueError: All test images are training images, a class has another label in each of the
            data sets, some images have no label, or see :func:`check_class_labels`.
    """
    if not all(hasattr(dataset, 'get_data_info') for dataset in (train, test)):
        return
    _check_class_names(train, test)
    listed = [[d.get_data_info(i) for i in range(len(d))] for d in (train, test)]
    known, asked = map(_identities, listed)
    both = set(known) & set(asked) - {None}
    repeated = sum(image in both for image in asked)
    problem = f'{repeated} of {len(asked)} test images are training images, too'
    if repeated and repeated == len(asked):
        raise ValueError(f'{problem}, so that a score would mean nothing: name other images')
    if repeated:
        print_log(f'{problem}, scores are too high', logger='current', level=logging.WARNING)
    classes = [[info.get('gt_label') for info in infos] for infos in listed]
    for dataset, labels in zip((train, test), classes):
        # Where no image is listed with a label, the pipeline may add it.
        absent = sum(label is None for label in labels)
        if 0 < absent < len(labels):
            raise ValueError(
                f'data set {type(dataset).__name__} lacks labels (gt_label) of {absent} of '
                f'{len(labels)} images: name a labelled split'
            )
    if all(isinstance(label, (int, np.integer)) for labels in classes for label in labels):
        strange = check_class_labels(*classes)
        if strange:
            rows = sum(label in strange for label in classes[1])
            print_log(
                f'{len(strange)} classes are in no training row: {rows} of {len(asked)} test rows '
                'count as wrong',
                logger='current',
                level=logging.WARNING,
            )


def check_class_labels(train: Sequence[int], test: Sequence[int]) -> set[int]:
    """Return the classes that only test rows have.

    Raises:
        NoScoreError: Training or test rows are of one class, or have none in common.
    """
    known, asked = set(train), set(test)
    for name, classes in (('training', known), ('test', asked)):
        if len(classes) == 1:
            raise NoScoreError(
                f'all {name} rows are of class {min(classes)}, so that a score would mean '
                'nothing: name images of several classes'
            )
    if asked and known and not asked & known:
        raise NoScoreError(
            'no class of the test rows is in a training row, so that a score would mean nothing: '
            'name two splits of the same classes'
        )
    return asked - known


def _check_class_names(train: Any, test: Any) -> None:
    """Raise ValueError where a class has one label in the training data and another in the test.

    The same classes may have other names in both, as folders of ImageNet and its lists have.
    """
    known, asked = [getattr(data, 'metainfo', {}).get('classes') or () for data in (train, test)]
    labels = {name: label for label, name in enumerate(known)}
    for label, name in enumerate(asked):
        if labels.get(name, label) != label:
            raise ValueError(
                f'class {name!r} is label {labels[name]} of the training data, but {label} of the '
                'test data, so that a score would mean nothing: list the same classes in both, as '
                'metainfo=dict(classes=[...])'
            )


def _identities(infos: list[dict]) -> list:
    """Return what two entries of the same image have in common; None where that is unknown."""
    # Asking for the real path of every image would take minutes for ImageNet.
    folders: dict[str, str] = {}
    found: list[Any] = []
    for info in infos:
        if 'img_path' in info:
            folder, name = os.path.split(info['img_path'])
            if folder not in folders:
                folders[folder] = os.path.realpath(folder)
            path = os.path.join(folders[folder], name)
            found.append(os.path.realpath(path) if os.path.islink(path) else path)
        else:
            pixels = info.get('img')
            found.append(hash(pixels.tobytes()) if isinstance(pixels, np.ndarray) else None)
    return found
