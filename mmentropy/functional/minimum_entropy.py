"""Minimum entropy of MinEnt: the nearest one-hot targets and their loss.

``N`` is the number of rows, ``K`` the number of pseudo-classes. For errors see
:mod:`mmentropy.functional`.

Source:
    Pattern Recognition 138 (2023) 109364, written from its formulas; compared with
    LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmentropy.checks.arguments import at_least, one_of, require
from mmentropy.checks.tensors import check_classes, check_matrix, check_pair

NORMS = ('batch', 'softmax', 'l2', 'none')


@torch.no_grad()
def nearest_min_entropy(logits: Tensor, norm: str = 'batch') -> Tensor:
    """Class of the one-hot (entropy 0) vector nearest to each row.

    The rows are normalised along the batch first, which is what keeps the classes in balance.

    Args:
        logits: (N, K), rows of all ranks; N >= 2 with a norm.
        norm: ``'batch'`` (zero mean and unit variance per column, eps 1e-5), ``'softmax'`` (over
            the rows), ``'l2'`` (unit column, or divided by 1e-12 if that is longer) or ``'none'``.

    Returns:
        (N,) int64 in [0, K), without gradient. The class of a row that is not finite means nothing;
        with a norm such an entry may make its column the class of all rows.
    """
    check_matrix('logits', logits)
    require(one_of(NORMS), norm=norm)
    if norm != 'none' and len(logits) < 2:
        raise ValueError(f'norm {norm!r} needs at least 2 rows, got 1')
    # The squares of huge or tiny logits would leave float32, hence double().
    if norm == 'batch':
        logits = F.batch_norm(logits.double(), None, None, training=True)
    elif norm == 'softmax':
        # The logarithm has the same order as the softmax and does not underflow.
        logits = logits.log_softmax(dim=0)
    elif norm == 'l2':
        logits = F.normalize(logits.double(), dim=0)
    return logits.argmax(dim=1)


def class_balance(classes: Tensor, num_classes: int) -> Tensor:
    """Entropy of the classes of a batch as a share of the largest possible.

    Args:
        classes: (N,) int64 in [0, K), N >= 2.
        num_classes: K >= 2.

    Returns:
        Scalar in [0, 1], no unit: 1 if min(N, K) classes are used alike, 0 if one is.

    Raises:
        IndexError: A class is outside [0, K), where the host knows.
    """
    check_classes('classes', classes)
    require(at_least(2), num_classes=num_classes)
    if len(classes) < 2:
        raise ValueError(f'classes must be those of at least 2 rows, got {len(classes)}')
    # torch.bincount would make the host wait for the device.
    ones = torch.ones(len(classes), device=classes.device)
    share = ones.new_zeros(num_classes).index_add_(0, classes, ones)
    share /= len(classes)
    return torch.special.entr(share).sum() / math.log(min(num_classes, len(classes)))


def min_entropy_loss(g1: Tensor, g2: Tensor, target1: Tensor, target2: Tensor) -> Tensor:
    """Cross-entropy of each view's logits with the other view's classes.

    Args:
        g1: (N, K) raw logits of the first view.
        g2: (N, K) likewise, of the second.
        target1: (N,) int64 classes in [0, K) of the first view.
        target2: (N,) likewise, of the second.

    Returns:
        Scalar in nats, >= 0, mean over rows and the two directions. Gradient flows into the logits.
        A logit of -inf is a class without probability: infinite where it is the target, otherwise
        of a finite value and gradient.

    Raises:
        IndexError: A class is outside [0, K), where the host knows.
    """
    check_pair(g1=g1, g2=g2)
    check_classes('target1', target1, len(g1))
    check_classes('target2', target2, len(g1))
    # By default torch would ignore the class -100 without a word.
    no_class = torch.iinfo(torch.int64).min
    cross1 = F.cross_entropy(g1, target2, ignore_index=no_class)
    cross2 = F.cross_entropy(g2, target1, ignore_index=no_class)
    return 0.5 * (cross1 + cross2)
