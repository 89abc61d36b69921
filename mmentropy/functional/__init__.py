"""The formulas of MEC, ER and MinEnt: tensors in, tensors out.

Nothing here knows about modules, devices or ranks. ``N`` is the number of
rows that arrive, ``D`` their width, ``K`` the number of classes of a discrete
assignment. Entropies and coding lengths are in nats.

Tensors are float32 or float64; half precision, in which gradients overflow,
is a ``TypeError``. Where the entries are not looked at, for that the host
would wait for the device, NaN goes on into the result, and infinity where the
formula has no limit there. Values hold to rounding.

Sources:
    MEC: arXiv 2210.11464, xinliu20/MEC@35045dc:main_pretrain.py#L365-L390.
    ER: arXiv 2307.10907,
        apple/ml-entropy-reconstruction@f523f11:entropy_reconstruction.py.
    MinEnt: Pattern Recognition 138 (2023) 109364,
        LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ESTIMATORS = ('plug_in', 'joe')
NORMS = ('batch', 'softmax', 'l2', 'none')

# Added by ER's released code to the Bessel function and inside logarithms.
AUTHORS_EPS = 1e-7
# The largest concentration: work and rounding of its constant grow with it.
MAX_KAPPA = 1e6
# Rows are divided by no less.
MIN_LENGTH = 1e-12


# -- Checks ------------------------------------------------------------------


def check_matrix(
    name: str, x: Tensor, square: bool = False, check_finite: bool = True, half: bool = True
) -> None:
    """Raise unless ``x`` is a finite floating-point matrix.

    Args:
        name: What the message calls the tensor.
        x: (N, D).
        square: Whether N must equal D.
        check_finite: Look at the entries too, for which the host waits for
            the device.
        half: Whether less than float32 will do.

    Raises:
        TypeError: ``x`` is not a floating-point tensor, or too narrow a one.
        ValueError: ``x`` has no rows, is no matrix, or is not square.
        FloatingPointError: ``x`` has infinite or NaN entries.
    """
    check_float(name, x, half)
    if x.dim() != 2 or x.numel() == 0:
        raise ValueError(f'{name} must be a non-empty matrix (N, D), got shape {tuple(x.shape)}')
    if square and x.size(0) != x.size(1):
        raise ValueError(f'{name} must be square, got {tuple(x.shape)}')
    # A finite sum has finite terms; the converse fails for huge ones.
    if not check_finite or torch.isfinite(x.detach().sum()):
        return
    bad = x.numel() - int(torch.isfinite(x).sum())
    if bad:
        raise FloatingPointError(
            f'{name} has {bad} non-finite of {x.numel()} entries; lower the '
            'learning rate, warm it up longer, or replace fp16 by bf16'
        )


_check = partial(check_matrix, half=False)


def check_float(name: str, x: Tensor, half: bool = False) -> None:
    """Raise ``TypeError`` unless floating-point, of 16 bits if ``half``."""
    bits = 16 if half else 32
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f'{name} must be a floating-point tensor, got {kind}')
    if 8 * x.element_size() < bits:
        raise TypeError(
            f'{name} must be at least float{bits}, got {x.dtype}: convert it by .float()'
        )


def check_pair(check_finite: bool = True, **pair: Tensor) -> None:
    """:func:`check_matrix` of two, float32 or float64 both, of one shape."""
    (name1, x1), (name2, x2) = pair.items()
    _check(name1, x1, check_finite=check_finite)
    _check(name2, x2, check_finite=check_finite)
    check_same_shape(name1, x1, name2, x2)
    if x1.dtype != x2.dtype:
        raise TypeError(f'{name1} and {name2} must have one dtype, got {x1.dtype} and {x2.dtype}')


def check_simplex(name: str, probs: Tensor, check_finite: bool) -> None:
    """:func:`check_matrix`, whose entries must be distributions too.

    Raises:
        ValueError: A row has a negative entry or does not sum to 1.
    """
    _check(name, probs, check_finite=check_finite)
    if check_finite and not (probs.min() >= 0 and (probs.sum(dim=1) - 1).abs().max() < 1e-3):
        raise ValueError(
            f'the rows of {name} must be distributions, >= 0 '
            'with a sum of 1: take the softmax of logits first'
        )


def check_classes(name: str, classes: Tensor, rows: int | None = None) -> None:
    """Raise unless these are int64 in a vector, of that length if given."""
    if not isinstance(classes, Tensor) or classes.dtype != torch.int64:
        raise TypeError(
            f'{name} must be an int64 tensor, got '
            f'{getattr(classes, "dtype", type(classes).__name__)}'
        )
    if classes.dim() != 1 or rows not in (None, len(classes)):
        size = 'N' if rows is None else rows
        raise ValueError(f'{name} must have shape ({size},), got {tuple(classes.shape)}')


def check_same_shape(name1: str, x1: Tensor, name2: str, x2: Tensor) -> None:
    """Raise ``ValueError`` unless both have one shape."""
    if x1.shape != x2.shape:
        raise ValueError(
            f'{name1} and {name2} must have one shape, got {tuple(x1.shape)} and {tuple(x2.shape)}'
        )


def check_positive(**values: float) -> None:
    """Raise ``ValueError`` for the first value not in (0, inf)."""
    for name, value in values.items():
        if not (isinstance(value, (int, float)) and 0 < value < math.inf):
            raise ValueError(f'{name} must be a positive number, got {value}')


def check_kappa(**values: float) -> None:
    """Raise ``ValueError`` for the first value not in (0, MAX_KAPPA]."""
    check_positive(**values)
    for name, value in values.items():
        if value > MAX_KAPPA:
            raise ValueError(f'{name} must be at most {MAX_KAPPA:g}, got {value}')


def check_integer(least: int, /, **values: int) -> None:
    """Raise ``ValueError`` for the first value not an integer >= ``least``.

    One that a tensor could not have as its size, 2**63 on, is refused too.
    """
    for name, value in values.items():
        if not (isinstance(value, int) and least <= value < 2**63):
            raise ValueError(f'{name} must be an integer >= {least}, got {value}')


def check_number(**values: float) -> None:
    """Raise ``ValueError`` for the first value that is no finite number."""
    for name, value in values.items():
        if not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise ValueError(f'{name} must be a finite number, got {value}')


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(choices)}, got {value!r}')


# -- Rows of unit length -----------------------------------------------------


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # Squares of huge or tiny entries would leave float32.
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64)
        norm = norm.clamp_min(MIN_LENGTH).to(x.dtype)
        unit = x / norm
        ctx.save_for_backward(unit, norm)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        unit, norm = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, unit).unsqueeze(1)
        # A constant divides the shortest rows.
        along = along * (norm > MIN_LENGTH)
        return torch.addcmul(grad, unit, along, value=-1).div_(norm)


def unit_rows(x: Tensor) -> Tensor:
    """Rows divided by their Euclidean norm, or by 1e-12 if that is smaller.

    ``F.normalize``, in fewer passes over memory, and of long rows too. The
    entries are not looked at: a row with NaN or infinity has NaN.

    Args:
        x: (N, D).

    Returns:
        (N, D), rows of length 1, of zeros where ``x`` has them. Gradient
        flows, once: it cannot be differentiated again.

    Raises:
        TypeError: ``x`` is not float32 or float64.
        ValueError: ``x`` is no matrix.
    """
    _check('x', x, check_finite=False)
    return _UnitRows.apply(x)


# -- Coding length (MEC) -----------------------------------------------------


def cross_gram(pred: Tensor, target: Tensor) -> Tensor:
    r"""The cheaper of :math:`P T^\top` (N, N) and :math:`T^\top P` (D, D).

    Both have the same non-zero eigenvalues, hence the same traces of powers
    and the same :math:`\det(I + \lambda C)` (Sylvester; eq. 4 of MEC).

    Args:
        pred: (N, D), rows of unit length for MEC.
        target: (N, D), likewise.

    Returns:
        Square matrix of side min(N, D). Gradient flows into both arguments.

    Raises:
        ValueError: Shapes differ, or an argument is no matrix.
        FloatingPointError: An argument is not finite, or their product.
    """
    check_pair(pred=pred, target=target)
    if pred.size(0) <= pred.size(1):
        gram = pred @ target.T
    else:
        gram = target.T @ pred
    check_matrix('the product of pred and target', gram)
    return gram


def log_det_taylor(c: Tensor, order: int = 4) -> Tensor:
    r"""Taylor series of :math:`\log\det(I + C)` cut after ``order`` terms.

    .. math:: \mathrm{tr} \sum_{k=1}^{n} \frac{(-1)^{k+1}}{k} C^k

    The full series converges for a spectral radius below 1. Only powers up
    to ceil(n / 2) are formed: tr(C^(a+b)) is the sum of C^a * (C^b)^T.

    Args:
        c: (N, N), need not be symmetric.
        order: n >= 1.

    Returns:
        Scalar.

    Raises:
        ValueError: ``c`` is not square or ``order`` is no positive integer.
        FloatingPointError: ``c`` is not finite, or so large that its powers
            may not be.
    """
    _check('c', c, square=True)
    check_integer(1, order=order)
    # The Frobenius norm bounds that of every power and the trace of products.
    norm = float(torch.linalg.vector_norm(c.detach(), dtype=torch.float64))
    largest = math.log(torch.finfo(c.dtype).max / order)
    if order * math.log(max(norm, 1)) > largest:
        raise FloatingPointError(
            f'c has norm {norm:.3g}, of which power {order} overflows '
            f'{c.dtype}: the series diverges above 1'
        )
    powers = [c]
    value = torch.trace(c)
    for k in range(2, order + 1):
        low, high = k // 2, k - k // 2
        if high > len(powers):
            powers.append(powers[-1] @ c)
        trace = (powers[high - 1] * powers[low - 1].T).sum()
        value = value + (-1) ** (k + 1) / k * trace
    return value


def log_det_exact(c: Tensor) -> Tensor:
    r""":math:`\log\det(I + C)` by LU factorisation.

    Args:
        c: (N, N), need not be symmetric.

    Returns:
        Scalar.

    Raises:
        ValueError: ``c`` is not square.
        FloatingPointError: ``c`` is not finite, or det(I + C) is not
            positive, which a spectral norm of C below 1 rules out, or leaves
            the dtype when it is found.
    """
    _check('c', c, square=True)
    eye = torch.eye(len(c), dtype=c.dtype, device=c.device)
    sign, value = torch.linalg.slogdet(eye + c)
    if not (sign > 0 and value < math.inf):
        raise FloatingPointError(
            'det(I + C) is not positive and finite, so its logarithm does not '
            'exist; raise the distortion or switch the norm guard on'
        )
    return value


@torch.no_grad()
def spectral_norm(c: Tensor, iterations: int = 10, check_finite: bool = True) -> Tensor:
    """Estimate the largest singular value by power iteration on C^T C.

    Never above the true norm; starts from a fixed vector, so it draws no
    random numbers and is the same on every rank.

    Args:
        c: (N, N).
        iterations: Number of steps >= 1, each two products with a vector.
        check_finite: See :func:`check_matrix`.

    Returns:
        Scalar without gradient; 0 for a zero matrix.

    Raises:
        ValueError: ``c`` is not square or ``iterations`` not positive.
        FloatingPointError: ``c`` is not finite.
    """
    _check('c', c, square=True, check_finite=check_finite)
    check_integer(1, iterations=iterations)
    tiny = torch.finfo(c.dtype).tiny
    # Quasi-random signs and sizes: orthogonal to no structure met in practice
    # (a constant start would be, to centred features).
    v = torch.arange(1, len(c) + 1, dtype=c.dtype, device=c.device)
    v = F.normalize((v * v).cos(), dim=0)
    # Squares of huge or tiny entries would leave float32.
    scale = torch.linalg.vector_norm(c @ v, dtype=torch.float64)
    scale = scale.to(c.dtype).clamp_min(tiny)
    c = c / scale
    for _ in range(iterations):
        v = F.normalize(c.T @ (c @ v), dim=0, eps=tiny)
    return torch.linalg.vector_norm(c @ v) * scale


def coding_length(z: Tensor, distortion: float) -> Tensor:
    r"""Coding length of N vectors, eq. 1 of MEC.

    .. math:: \frac{N + D}{2} \log\det\left(I +
              \frac{1}{N \epsilon_d^2} Z Z^\top\right)

    Args:
        z: (N, D), rows of unit length.
        distortion: Per-dimension distortion :math:`\epsilon_d^2 > 0`, which
            is :math:`\epsilon^2 / D`.

    Returns:
        Scalar in nats, >= 0.

    Raises:
        ValueError: ``z`` is no matrix or ``distortion`` not positive.
        FloatingPointError: ``z`` is not finite, or so long, or
            ``distortion`` so small, that I + C is singular or overflows.
    """
    check_positive(distortion=distortion)
    _check('z', z)
    n, d = z.shape
    return (n + d) / 2 * log_det_exact(cross_gram(z, z) / (n * distortion))


# -- Entropy and reconstruction (ER) -----------------------------------------


def log_bessel_i(order: float, x: float) -> float:
    r""":math:`\log I_\nu(x)` of the modified Bessel function, first kind.

    Sums the power series in log space: its terms are all positive, so there
    is no cancellation and nothing under- or overflows.

    Args:
        order: :math:`\nu` in [0, 2**62].
        x: Argument in (0, 1e6]; time and memory grow linearly with it.

    Returns:
        The logarithm, to about 1e-14 of its largest term, or of 1.

    Raises:
        ValueError: ``order`` or ``x`` is out of range.
    """
    check_kappa(x=x)
    if not 0 <= order <= 2**62:
        raise ValueError(f'order must be in [0, 2**62], got {order}')
    # Terms shrink from k = x / 2 on, at least fourfold per step at k = x.
    k = torch.arange(int(x) + 100, dtype=torch.float64)
    terms = (2 * k + order) * math.log(x / 2) - torch.lgamma(k + 1) - torch.lgamma(k + order + 1)
    return float(torch.logsumexp(terms, dim=0))


def log_sphere_area(dim: int) -> float:
    """Log of the area of the unit sphere in ``dim`` dimensions, in nats.

    The largest differential entropy a density on the sphere can have.

    Raises:
        ValueError: ``dim`` is no positive integer.
    """
    check_integer(1, dim=dim)
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def vmf_log_normalizer(dim: int, kappa: float, authors_constant: bool = False) -> float:
    r"""Log of :math:`C_d(\kappa)` in the vMF density
    :math:`C_d(\kappa)\, e^{\kappa \mu^\top x}`.

    Args:
        dim: d >= 2, the dimension of the space around the sphere.
        kappa: Concentration in (0, 1e6].
        authors_constant: Add 1e-7 to the Bessel function as ER's released
            code does. Above some 50 dimensions that is no density any more
            (271 nats off at d = 256, kappa = 10); gradients do not change.

    Returns:
        The logarithm in nats.

    Raises:
        ValueError: ``dim`` below 2 or ``kappa`` out of range.
    """
    check_kappa(kappa=kappa)
    check_integer(2, dim=dim)
    order = dim / 2 - 1
    log_bessel = log_bessel_i(order, kappa)
    if authors_constant:
        high, low = sorted((log_bessel, math.log(AUTHORS_EPS)), reverse=True)
        log_bessel = high + math.log1p(math.exp(low - high))
    return order * math.log(kappa) - dim / 2 * math.log(2 * math.pi) - log_bessel


def sphere_entropy(
    z: Tensor, kappa: float = 10.0, estimator: str = 'plug_in', log_normalizer: float | None = None
) -> Tensor:
    r"""Entropy of points on the sphere by a vMF kernel density.

    :math:`\hat p(z_i) = \frac{1}{N} \sum_j C_d(\kappa)
    e^{\kappa z_i^\top z_j}`, j = i included.

    Args:
        z: (N, D), rows of unit length; gradient flows through every factor.
        kappa: Concentration of the kernel, in (0, 1e6].
        estimator: ``'joe'``, the mean of :math:`-\log \hat p(z_i)`, or
            ``'plug_in'``, that mean weighted by :math:`\hat p(z_i)`.
        log_normalizer: :math:`\log C_d(\kappa)`, computed when None.

    Returns:
        Scalar in nats. With ``'plug_in'`` never above
        :func:`log_sphere_area`: sum p log p / sum p >= log mean p, and the
        kernel is positive definite.

    Raises:
        ValueError: Unknown estimator, bad ``kappa``, or ``z`` no matrix.
        FloatingPointError: ``z`` is not finite, or too long for the kernel.
    """
    _check('z', z)
    check_kappa(kappa=kappa)
    if log_normalizer is None:
        log_normalizer = vmf_log_normalizer(z.size(1), kappa)
    kernel_sums = torch.logsumexp(kappa * z @ z.T, dim=1)
    # Further up the gradient overflows, and then the value. NaN fails too.
    if not kernel_sums.detach().max() < 1e18:
        raise FloatingPointError(
            'the rows of z are too long for a kernel on the sphere: divide them by their length'
        )
    return kernel_entropy(kernel_sums, estimator, log_normalizer)


def kernel_entropy(kernel_sums: Tensor, estimator: str, log_normalizer: float) -> Tensor:
    r""":func:`sphere_entropy` from its sums of kernels.

    Args:
        kernel_sums: (N,), :math:`\log \sum_j e^{\kappa z_i^\top z_j}`.
        estimator: ``'plug_in'`` or ``'joe'``.
        log_normalizer: :math:`\log C_d(\kappa)`.

    Returns:
        Scalar in nats.

    Raises:
        TypeError: The sums are not float32 or float64.
        ValueError: They are no vector, the estimator is unknown, or
            ``log_normalizer`` is not finite.
    """
    check_float('kernel_sums', kernel_sums)
    if kernel_sums.dim() != 1 or not len(kernel_sums):
        raise ValueError(
            f'kernel_sums must be a non-empty vector (N,), got shape {tuple(kernel_sums.shape)}'
        )
    check_choice('estimator', estimator, ESTIMATORS)
    check_number(log_normalizer=log_normalizer)
    if estimator == 'joe':
        mean = kernel_sums.mean()
    else:
        mean = (kernel_sums.softmax(dim=0) * kernel_sums).sum()
    # The large constants meet in double precision, apart from the tensor.
    return (math.log(len(kernel_sums)) - log_normalizer) - mean


def sphere_reconstruction(
    z1: Tensor,
    z2: Tensor,
    kappa: float = 10.0,
    log_normalizer: float | None = None,
    check_finite: bool = True,
) -> Tensor:
    r"""Mean :math:`-\log q(z_2 | z_1)` with a vMF density around ``z1``.

    Args:
        z1: (N, D), rows of unit length.
        z2: (N, D), likewise; row i belongs to row i of ``z1``.
        kappa: Concentration in (0, 1e6].
        log_normalizer: :math:`\log C_d(\kappa)`, computed when None.
        check_finite: See :func:`check_matrix`.

    Returns:
        Scalar in nats, to be minimised. Gradient flows into both arguments.

    Raises:
        ValueError: Shapes differ or ``kappa`` is out of range.
        FloatingPointError: An argument is not finite, or the result.
    """
    check_pair(check_finite, z1=z1, z2=z2)
    check_kappa(kappa=kappa)
    if log_normalizer is None:
        log_normalizer = vmf_log_normalizer(z1.size(1), kappa)
    check_number(log_normalizer=log_normalizer)
    value = -kappa * (z1 * z2).sum(dim=1).mean() - log_normalizer
    if check_finite and not torch.isfinite(value):
        raise FloatingPointError(
            'the rows of z1 and z2 are too long for a '
            'density on the sphere: divide them by '
            'their length'
        )
    return value


def _log(probs: Tensor, eps: float) -> Tensor:
    """Logarithm, finite at 0, where its gradient is 0 for a tiny ``eps``."""
    check_number(eps=eps)
    if eps < 0:
        raise ValueError(f'eps must not be negative, got {eps}')
    if eps:
        probs = probs + eps
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def discrete_entropy(
    probs: Tensor, estimator: str = 'plug_in', eps: float = 0.0, check_finite: bool = True
) -> Tensor:
    r"""Entropy of a discrete assignment from its distribution per row.

    Args:
        probs: (N, K), rows in the simplex; gradient flows into it.
        estimator: ``'plug_in'``, the entropy of the mean row
            :math:`\bar p`, or ``'joe'``, the released code's
            :math:`-\frac1K \sum_c \log \bar p_c`. The latter is the cross-
            entropy of the uniform distribution with :math:`\bar p`: at
            least log K, and smallest where the entropy is largest.
        eps: Numerical guard inside the logarithm, 1e-7 in the released code.
        check_finite: See :func:`check_matrix`.

    Returns:
        Scalar in nats; for ``'plug_in'`` in [0, log K] less K ``eps``.

    Raises:
        ValueError: Unknown estimator, ``eps`` negative, ``probs`` no matrix
            or, with ``check_finite``, rows outside the simplex.
        FloatingPointError: ``probs`` is not finite.
    """
    check_simplex('probs', probs, check_finite)
    check_choice('estimator', estimator, ESTIMATORS)
    mean = probs.mean(dim=0)
    if estimator == 'joe':
        return -_log(mean, eps).mean()
    return -(mean * _log(mean, eps)).sum()


def discrete_reconstruction(
    p1: Tensor, p2: Tensor, eps: float = 0.0, check_finite: bool = True
) -> Tensor:
    r"""Mean cross-entropy of two assignments, averaged over directions.

    .. math:: -\frac{1}{2N} \sum_i \sum_c
              p_1 \log p_2 + p_2 \log p_1

    Args:
        p1: (N, K), rows in the simplex.
        p2: (N, K), likewise; row i belongs to row i of ``p1``.
        eps: Numerical guard inside the logarithm.
        check_finite: See :func:`check_matrix`.

    Returns:
        Scalar in nats, >= 0 for ``eps`` = 0. Gradient flows into both
        arguments.

    Raises:
        ValueError: Shapes differ, ``eps`` is negative or, with
            ``check_finite``, a row is outside the simplex.
        FloatingPointError: An argument is not finite.
    """
    check_pair(False, p1=p1, p2=p2)
    check_simplex('p1', p1, check_finite)
    check_simplex('p2', p2, check_finite)
    cross = p1 * _log(p2, eps) + p2 * _log(p1, eps)
    return -0.5 * cross.sum(dim=1).mean()


# -- Minimum entropy (MinEnt) ------------------------------------------------


@torch.no_grad()
def nearest_min_entropy(logits: Tensor, norm: str = 'batch', check_finite: bool = True) -> Tensor:
    """Class of the one-hot (entropy 0) vector nearest to each row.

    The rows are normalised along the batch first, which is what keeps the
    classes in balance.

    Args:
        logits: (N, K), rows of all ranks.
        norm: ``'batch'`` (zero mean and unit variance per column, eps 1e-5),
            ``'softmax'`` (over the rows), ``'l2'`` (unit column, or divided
            by 1e-12 if that is longer) or ``'none'``.
        check_finite: See :func:`check_matrix`. Without, the class of a row
            that is not finite means nothing.

    Returns:
        (N,) int64 in [0, K), without gradient.

    Raises:
        ValueError: Unknown norm, ``logits`` no matrix, or a single row with
            a norm that needs several.
        FloatingPointError: ``logits`` is not finite.
    """
    _check('logits', logits, check_finite=check_finite)
    check_choice('norm', norm, NORMS)
    if norm != 'none' and len(logits) < 2:
        raise ValueError(f'norm {norm!r} needs at least 2 rows, got 1')
    # In float64: squares of huge or tiny logits would leave float32.
    if norm == 'batch':
        logits = F.batch_norm(logits.double(), None, None, training=True)
    elif norm == 'softmax':
        # The logarithm has the same order, and does not underflow.
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
        Scalar in [0, 1], no unit: 1 if min(N, K) classes are used alike, 0 if
        one is.

    Raises:
        TypeError: ``classes`` are not int64.
        ValueError: They are no vector, or N or K is below 2.
        IndexError: A class is outside [0, K), where the host knows.
    """
    check_classes('classes', classes)
    check_integer(2, num_classes=num_classes)
    if len(classes) < 2:
        raise ValueError(f'classes must be those of at least 2 rows, got {len(classes)}')
    # bincount would wait for the device.
    ones = torch.ones(len(classes), device=classes.device)
    share = ones.new_zeros(num_classes).index_add_(0, classes, ones)
    share /= len(classes)
    return torch.special.entr(share).sum() / math.log(min(num_classes, len(classes)))


def min_entropy_loss(g1: Tensor, g2: Tensor, target1: Tensor, target2: Tensor) -> Tensor:
    """Cross-entropy of each view's logits with the other view's classes.

    Args:
        g1: (N, K) raw logits of the first view.
        g2: (N, K) raw logits of the second.
        target1: (N,) int64 classes in [0, K) of the first view.
        target2: (N,) int64 classes in [0, K) of the second.

    Returns:
        Scalar in nats, >= 0, mean over rows and the two directions.

    Raises:
        TypeError: Logits are not float32 or float64, or classes not int64.
        ValueError: Shapes differ, or the logits are no matrices.
        IndexError: A class is outside [0, K), where the host knows.
    """
    check_pair(False, g1=g1, g2=g2)
    check_classes('target1', target1, len(g1))
    check_classes('target2', target2, len(g1))
    # No class is ignored, as torch does with -100.
    cross = partial(F.cross_entropy, ignore_index=torch.iinfo(torch.int64).min)
    return 0.5 * (cross(g1, target2) + cross(g2, target1))
