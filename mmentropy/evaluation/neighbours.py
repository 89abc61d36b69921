"""Nearest rows and near-duplicates among features, by cosine."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmentropy.checks.arguments import COUNT, SHARE, require
from mmentropy.evaluation.features import BLOCK, collapsed
from mmentropy.evaluation.knn import nearest
from mmentropy.evaluation.progress import progress

# The cosine of a row and itself differs from 1 by less.
ROUNDING = 1e-6


def check_distinct(features: np.ndarray) -> None:
    """Raise ValueError unless features (N, D) are finite, and differ by more than rounding."""
    rows = torch.from_numpy(features)
    if not rows.isfinite().all():
        raise ValueError('features are not finite, so that no image is near another')
    if collapsed(rows):
        raise ValueError(
            f'the features of all {len(rows):,} images are next to the same: the network has '
            'collapsed, and every image is as near as any other'
        )


def nearest_rows(features: np.ndarray, queries: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
    """Return cosines and rows, both (Q, k), of the nearest rows to queries, nearest first.

    Args:
        features: (N, D).
        queries: (Q, D).
        k: at most N are returned.
    """
    require(COUNT, k=k)
    rows = torch.from_numpy(features)
    cosines, found = nearest(torch.from_numpy(queries), rows, rows.norm(dim=1), k, cosine=True)
    return cosines.clamp(max=1), found


def near_duplicates(features: np.ndarray, least: float = 0.95) -> Iterator[tuple[float, int, int]]:
    """Yield the cosine and the rows, the smaller first, of pairs at least so alike.

    All pairs are compared, block by block, which takes N * N * D multiplications.

    Args:
        features: (N, D).
        least: cosine in 0..1 from which on a pair is yielded, up to rounding.
    """
    require(SHARE, least=least)
    starts = range(0, len(features), BLOCK)
    for first in progress(starts, 'comparing', 'block'):
        block = unit_block(features, first)
        for second in starts[first // BLOCK :]:
            cosines = block @ unit_block(features, second).T
            alike = cosines >= least - ROUNDING
            if first == second:
                alike.triu_(1)
            # Where all rows are alike, a list of all pairs of a block would take gigabytes.
            for i in alike.any(1).nonzero().flatten().tolist():
                for j in alike[i].nonzero().flatten().tolist():
                    yield min(1.0, float(cosines[i, j])), first + i, second + j


def unit_block(features: np.ndarray, first: int) -> Tensor:
    """Return the block of features that begins at a row, in rows of length one."""
    return F.normalize(torch.from_numpy(features[first : first + BLOCK]), dim=1)
