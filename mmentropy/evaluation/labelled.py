"""Labelled data sets, built and checked by their first image instead of minutes later."""

from collections.abc import Sequence

from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS
from torch import nn

from mmentropy.checks.config_parts import is_bgr
from mmentropy.datasets import check_dataset
from mmentropy.evaluation.features import (
    check_difficult,
    collate,
    multi_label_classes,
    preprocess,
    turns_colours,
)

# The protocols that can score several labels per image.
MULTI_LABEL = ('svm',)


def build_labelled(entry: dict, trained: dict | None, protocols: Sequence[str]) -> BaseDataset:
    """Build a data set that :func:`check_labelled` accepts, which has the arguments and errors."""
    check_dataset(entry)
    dataset = DATASETS.build(entry)
    check_labelled(dataset, entry, trained, protocols)
    return dataset


def check_labelled(
    dataset: BaseDataset,
    entry: dict,
    trained: dict | None,
    protocols: Sequence[str],
    data_preprocessor: nn.Module | None = None,
) -> None:
    """Raise for what the first image of a data set tells.

    Args:
        dataset: The data set.
        entry: Its config.
        trained: The config of the images that the network is trained on, None if it is unknown.
        protocols: The names of what the data set is scored by.
        data_preprocessor: The preprocessor that the images have to fit, if it is known. Without
            ``trained`` it tells the order of colours, too.

    Raises:
        ValueError: The data set is empty or without labels, has several labels per image, drops
            those that are difficult, or gives other channels or another order of colours than in
            training.
    """
    name = type(dataset).__name__
    wrong = [protocol for protocol in protocols if protocol not in MULTI_LABEL]
    several = multi_label_classes(dataset)
    if several and wrong:
        raise ValueError(
            f'data set {name} has several labels per image, which {", ".join(wrong)} '
            f'cannot score: choose {", ".join(MULTI_LABEL)}'
        )
    if len(dataset) == 0:
        raise ValueError(f'data set {name} is empty')
    inputs, samples = collate([dataset[0]], name)
    if samples is None or samples[0].get('gt_label') is None:
        raise ValueError(f'data set {name} lacks labels (gt_label): name a labelled split')
    if several:
        check_difficult(dataset, samples[0], name)
    if data_preprocessor is not None:
        preprocess(inputs, samples, data_preprocessor)
    # Colours in another order than in training are something that nothing else notices.
    bgr = _takes_bgr(trained, data_preprocessor)
    if bgr is not None and inputs.shape[1] == 3 and is_bgr(entry) != bgr:
        orders = [('RGB', 'BGR')[is_given] for is_given in (is_bgr(entry), bgr)]
        raise ValueError(
            f'data set {name} gives {orders[0]}, but the network is trained on '
            f'{orders[1]}: convert in its pipeline, as by NumpyToPIL and PILToNumpy'
        )


def _takes_bgr(trained: dict | None, data_preprocessor: nn.Module | None) -> bool | None:
    """Return whether a network is given BGR, which a preprocessor may turn; None if unknown."""
    if trained:
        return is_bgr(trained)
    return None if data_preprocessor is None else turns_colours(data_preprocessor)
