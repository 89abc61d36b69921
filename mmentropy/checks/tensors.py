"""What a tensor must be. Each function raises one line, or does nothing.

Only types and shapes are looked at, which costs nothing, except by
:func:`check_finite`, for which the host waits for the device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_floats(name: str, x: Tensor) -> None:
    """Raise ``TypeError`` unless ``x`` is a tensor of float32 or float64.

    In half precision the gradients of the objectives overflow.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = getattr(x, 'dtype', type(x).__name__)
        raise TypeError(f'{name} must be a floating-point tensor, got {kind}')
    if x.element_size() < 4:
        raise TypeError(f'{name} must be float32 or float64, got {x.dtype}: convert it by .float()')


def check_matrix(name: str, x: Tensor) -> None:
    """Raise unless ``x`` is a non-empty matrix (N, D) of float32 or float64.

    Raises:
        TypeError: see :func:`check_floats`.
        ValueError: it is no matrix, or an empty one.
    """
    check_floats(name, x)
    if x.dim() != 2 or x.numel() == 0:
        raise ValueError(f'{name} must be a non-empty matrix (N, D), got shape {tuple(x.shape)}')


def check_square(name: str, x: Tensor) -> None:
    """:func:`check_matrix`; raise ``ValueError`` too unless it is square."""
    check_matrix(name, x)
    if x.size(0) != x.size(1):
        raise ValueError(f'{name} must be square, got {tuple(x.shape)}')


def check_pair(**pair: Tensor) -> None:
    """:func:`check_matrix` of two tensors, which have one shape and one type."""
    (name1, x1), (name2, x2) = pair.items()
    check_matrix(name1, x1)
    check_matrix(name2, x2)
    if x1.shape != x2.shape:
        raise ValueError(
            f'{name1} and {name2} must have one shape, got {tuple(x1.shape)} and {tuple(x2.shape)}'
        )
    if x1.dtype != x2.dtype:
        raise TypeError(f'{name1} and {name2} must have one dtype, got {x1.dtype} and {x2.dtype}')


def check_projections(views: Sequence[Tensor]) -> None:
    """:func:`check_matrix` of two or more views, which have one shape and one type."""
    if len(views) < 2:
        raise ValueError(f'the objective compares views and needs at least two, got {len(views)}')
    for index, view in enumerate(views[1:], 1):
        check_pair(**{'views[0]': views[0], f'views[{index}]': view})


def check_classes(name: str, classes: Tensor, rows: int | None = None) -> None:
    """Raise unless ``classes`` is an int64 vector, of ``rows`` entries if given.

    Raises:
        TypeError: it is no int64 tensor.
        ValueError: it is no vector, or of another length.
    """
    if not isinstance(classes, Tensor) or classes.dtype != torch.int64:
        kind = getattr(classes, 'dtype', type(classes).__name__)
        raise TypeError(f'{name} must be an int64 tensor, got {kind}')
    if classes.dim() != 1 or rows not in (None, len(classes)):
        size = 'N' if rows is None else rows
        raise ValueError(f'{name} must have shape ({size},), got {tuple(classes.shape)}')


def check_finite(name: str, x: Tensor) -> None:
    """Raise ``FloatingPointError`` if an entry is infinite or NaN."""
    # A finite sum has finite terms. The converse fails for huge entries, so
    # they are counted before anything is raised.
    if torch.isfinite(x.detach().sum()):
        return
    bad = x.numel() - int(torch.isfinite(x).sum())
    if bad:
        raise FloatingPointError(f'{name} has {bad} non-finite of {x.numel()} entries')
