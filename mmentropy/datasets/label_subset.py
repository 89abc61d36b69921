"""A few labelled images of a data set, for semi-supervised learning."""

import os.path as osp
from collections import defaultdict

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import COUNT, DICT, INDEX, PATH, POSITIVE_SHARE, or_none, require
from mmentropy.datasets.image_listing import listed_names
from mmentropy.datasets.required_files import check_dataset


@DATASETS.register_module(name='LabelSubset')
def label_subset(
    dataset: dict,
    fraction: float | None = None,
    shots: int | None = None,
    names: str | None = None,
    seed: int = 0,
) -> BaseDataset:
    """Return a data set restricted to some of its rows, in its order.

    Rows are drawn class by class. The draw depends on the seed, the label and the file names of the
    class (row numbers without files); a smaller subset is part of a larger one of the same seed.

    Args:
        dataset: config of the data set. It has one label per row, unless rows are taken by name.
        fraction: share of each class in (0, 1]; at least one row of each.
        shots: rows of each class, instead of ``fraction``.
        names: file that lists the images to take, a file name per line, instead of both; the
            lists of SimCLR are such.
        seed: what the draw depends on, at least 0.

    Raises:
        TypeError: the data set is a wrapper.
        ValueError: not exactly one of fraction, shots and names is given or it is out of range, a
            row has no label or several, a class has fewer rows than ``shots``, or a listed name
            is not the name of exactly one image.
        FileNotFoundError: there is no file ``names``.
    """
    ways = dict(fraction=fraction, shots=shots, names=names)
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            'LabelSubset takes exactly one of fraction, shots '
            f'and names, got {" and ".join(given) or "none"}'
        )
    require(DICT, dataset=dataset)
    require(or_none(POSITIVE_SHARE), fraction=fraction)
    require(or_none(COUNT), shots=shots)
    require(or_none(PATH), names=names)
    require(INDEX, seed=seed)
    check_dataset(dict(type='LabelSubset', names=names))
    data = DATASETS.build(dataset)
    if not isinstance(data, BaseDataset):
        raise TypeError(
            f'LabelSubset cannot take rows of {type(data).__name__}: wrap '
            'the LabelSubset in it, not the other way round'
        )
    rows = _named_rows(data, names) if names else _drawn_rows(data, fraction, shots, seed)
    data.get_subset_(sorted(rows))
    return data


def subset_names(dataset: BaseDataset) -> list[str]:
    """Return the file names of all images, without folders, in the data set's order.

    Raises:
        ValueError: the images have no files.
    """
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    try:
        return [osp.basename(info['img_path']) for info in infos]
    except KeyError:
        raise ValueError(
            f'{type(dataset).__name__} has no image files to name: use fraction or shots'
        ) from None


def _named_rows(dataset: BaseDataset, file: str) -> list[int]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(subset_names(dataset)):
        rows[name].append(row)
    wanted = listed_names(file)
    wrong = sorted(name for name in wanted if len(rows[name]) != 1)
    if wrong or not wanted:
        first = f', the first is {wrong[0]}' if wrong else ''
        raise ValueError(
            f'{len(wrong)} of {len(wanted)} names in {file} are not those of '
            f'exactly one image each of {type(dataset).__name__}{first}'
        )
    return [rows[name][0] for name in wanted]


def _drawn_rows(
    dataset: BaseDataset, fraction: float | None, shots: int | None, seed: int
) -> list[int]:
    classes: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    for row in range(len(dataset)):
        info = dataset.get_data_info(row)
        label = info.get('gt_label')
        if label is None or np.ndim(label):
            raise ValueError(
                f'row {row} of {type(dataset).__name__} has '
                f'{"no label" if label is None else "several labels"}: '
                'LabelSubset draws from single-label data'
            )
        path = info.get('img_path', '')
        classes[int(label)].append((osp.basename(path), path, row))
    drawn = []
    for label, members in classes.items():
        rows = [row for *_, row in sorted(members)]
        count = shots or max(1, round((fraction or 0) * len(rows)))
        if count > len(rows):
            raise ValueError(
                f'class {label} of {type(dataset).__name__} has '
                f'{len(rows)} rows, fewer than shots={shots}'
            )
        # RandomState is the one generator whose numbers never change with NumPy's version.
        order = np.random.RandomState([seed, label]).permutation(len(rows))
        drawn += [rows[i] for i in order[:count]]
    return drawn
