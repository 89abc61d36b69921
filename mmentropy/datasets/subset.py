"""A few labelled images of a data set, for semi-supervised learning."""

import os.path as osp
from collections import defaultdict

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import COUNT, DICT, INDEX, PATH, is_number, or_none, require
from mmentropy.datasets.class_folders import check_dataset


@DATASETS.register_module(name='LabelSubset')
def label_subset(
    dataset: dict,
    fraction: float | None = None,
    shots: int | None = None,
    names: str | None = None,
    seed: int = 0,
) -> BaseDataset:
    """A data set restricted to some of its rows, in its order.

    Rows are drawn class by class. The draw depends on the seed, the label and
    the file names of the class (on row numbers if images have no files), and
    a smaller subset is part of a larger one of the same seed.

    Args:
        dataset: Config of the data set; one label per row, unless by name.
        fraction: Share of each class in (0, 1]; at least one row of each.
        shots: Rows of each class, instead of ``fraction``.
        names: File that lists the images to take, a file name per line,
            instead of both; the lists of SimCLR are such.
        seed: What to draw from, at least 0.

    Raises:
        TypeError: If the data set is a wrapper.
        ValueError: If not exactly one of fraction, shots and names is given
            or it is out of range, a row has no label or several, a class has
            fewer rows than ``shots``, or a listed name is not the name of
            exactly one image.
        FileNotFoundError: If there is no file ``names``.
    """
    ways = dict(fraction=fraction, shots=shots, names=names)
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            'LabelSubset takes exactly one of fraction, shots '
            f'and names, got {" and ".join(given) or "none"}'
        )
    require(DICT, dataset=dataset)
    if fraction is not None and not (is_number(fraction) and 0 < fraction <= 1):
        raise ValueError(f'fraction must be in (0, 1], not {fraction!r}')
    if shots is not None and not COUNT.test(shots):
        raise ValueError(f'shots must be at least 1, not {shots!r}')
    require(or_none(PATH), names=names)
    require(INDEX, seed=seed)
    check_dataset(dict(type='LabelSubset', names=names))
    dataset = DATASETS.build(dataset)
    if not isinstance(dataset, BaseDataset):
        raise TypeError(
            f'LabelSubset cannot take rows of {type(dataset).__name__}: wrap '
            'the LabelSubset in it, not the other way round'
        )
    if names is not None:
        rows = _named_rows(dataset, names)
    else:
        rows = _drawn_rows(dataset, fraction, shots, seed)
    dataset.get_subset_(sorted(rows))
    return dataset


def subset_names(dataset: BaseDataset) -> list[str]:
    """File names of all images, without folders, in the data set's order.

    Raises:
        ValueError: If the images have no files.
    """
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    try:
        return [osp.basename(info['img_path']) for info in infos]
    except KeyError:
        raise ValueError(
            f'{type(dataset).__name__} has no image files to name: use fraction or shots'
        ) from None


def _named_rows(dataset: BaseDataset, file: str) -> list[int]:
    rows = defaultdict(list)
    for row, name in enumerate(subset_names(dataset)):
        rows[name].append(row)
    wanted = {line.strip() for line in list_from_file(file)} - {''}
    wrong = sorted(name for name in wanted if len(rows[name]) != 1)
    if wrong or not wanted:
        first = f', the first is {wrong[0]}' if wrong else ''
        raise ValueError(
            f'{len(wrong)} of {len(wanted)} names in {file} are not those of '
            f'exactly one image of {type(dataset).__name__}{first}'
        )
    return [rows[name][0] for name in wanted]


def _drawn_rows(
    dataset: BaseDataset, fraction: float | None, shots: int | None, seed: int
) -> list[int]:
    rows_of = defaultdict(list)
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
        rows_of[int(label)].append((osp.basename(path), path, row))
    drawn = []
    for label, rows in rows_of.items():
        count = shots or max(1, round(fraction * len(rows)))
        if count > len(rows):
            raise ValueError(
                f'class {label} of {type(dataset).__name__} has '
                f'{len(rows)} rows, fewer than shots={shots}'
            )
        # RandomState: the one generator whose numbers never change.
        order = np.random.RandomState([seed, label]).permutation(len(rows))
        rows.sort()
        drawn += [rows[i][-1] for i in order[:count]]
    return drawn
