"""Nearest rows and near-duplicates among features, by cosine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmentropy.checks.arguments import COUNT, SHARE, require
from mmentropy.evaluation.features import BLOCK


def nearest_rows(features: np.ndarray, queries: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
    """Return cosines and rows, both (Q, k), of the nearest rows to queries, nearest first.

    Args:
        features: (N, D).
        queries: (Q, D).
        k: at most N are returned.
    """
    require(COUNT, k=k)
    asked = F.normalize(torch.from_numpy(queries), dim=1)
    best, rows = asked.new_empty(len(asked), 0), asked.new_empty(len(asked), 0, dtype=torch.int64)
    for first, block in unit_blocks(features):
        found = asked @ block.T
        best = torch.cat([best, found], 1)
        rows = torch.cat([rows, (first + torch.arange(len(block))).expand(len(asked), -1)], 1)
        best, kept = best.topk(min(k, best.shape[1]), dim=1)
        rows = rows.gather(1, kept)
    return best, rows


def near_duplicates(
    features: np.ndarray, least: float = 0.95, progress: Any = lambda done, total: None
) -> Iterator[tuple[float, int, int]]:
    """Yield the cosine and the rows, the smaller first, of pairs at least so alike.

    All pairs are compared, block by block, which takes N * N * D multiplications.

    Args:
        features: (N, D).
        least: cosine in 0..1 from which on a pair is yielded.
        progress: called with the rows that are done, and all.
    """
    require(SHARE, least=least)
    for first, block in unit_blocks(features):
        for second, other in unit_blocks(features):
            if second < first:
                continue
            cosines = block @ other.T
            for i, j in (cosines >= least).nonzero().tolist():
                if first + i < second + j:
                    yield float(cosines[i, j]), first + i, second + j
        progress(first + len(block), len(features))


def unit_blocks(features: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row, and rows of length one, of each block of features."""
    for first in range(0, len(features), BLOCK):
        yield first, F.normalize(torch.from_numpy(features[first : first + BLOCK]), dim=1)
