"""Entropies of a spectrum: closed forms, identities of the family, and gradients."""

import math

import pytest
import torch

from mmentropy.functional.coding import coding_length, coding_rate, gram, matrix_log_taylor
from mmentropy.functional.covariance import variance_and_covariance
from mmentropy.functional.diagnostics import effective_rank
from mmentropy.functional.matrix_entropy import matrix_entropy, nuclear_norm, nuclear_norms

SHAPES = [(12, 7), (7, 12)]


def rows(shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_gram_has_the_gradient_of_both_factors(shape):
    """Where what follows is not symmetric, too."""
    z = rows(shape)
    smaller = z @ z.T if shape[0] < shape[1] else z.T @ z
    torch.testing.assert_close(gram(z), smaller)
    weight = torch.arange(49, dtype=torch.float64).view(7, 7)
    (grad,) = torch.autograd.grad((gram(z) * weight).sum(), z)
    torch.testing.assert_close(grad, *torch.autograd.grad((smaller * weight).sum(), z))


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_a_gram_matrix_in_float64_keeps_rows_in_float32(shape):
    """It and its gradient are those of the rows in float64, which are not kept for the gradient."""
    z = rows(shape).detach().float().requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append((x.shape, x.dtype)) or x, lambda x: x
    ):
        exact = gram(z, torch.float64)
    assert kept == [(shape, torch.float32)]
    assert torch.equal(exact, gram(z.double()))
    weight = torch.arange(49, dtype=torch.float64).view(7, 7)
    (grad,) = torch.autograd.grad((exact * weight).sum(), z)
    assert torch.equal(grad, *torch.autograd.grad((gram(z.double()) * weight).sum(), z))


@pytest.mark.parametrize('order', [0.5, 1, 2, 3])
def test_entropy_in_closed_form(order):
    """The log of the rank where eigenvalues are equal, and 0 of rank one and of zeros."""
    isotropic = torch.diag(torch.tensor([3.0, 3.0, 3.0, 0.0, 0.0], dtype=torch.float64))
    assert float(matrix_entropy(isotropic, order)) == pytest.approx(math.log(3))
    for matrix in (torch.ones(4, 4), torch.zeros(4, 4)):
        assert float(matrix_entropy(matrix, order)) == pytest.approx(0, abs=1e-6)


def test_eigenvalues_of_zero_have_no_gradient():
    matrix = torch.diag(torch.tensor([4.0, 0.0, 0.0])).requires_grad_()
    (grad,) = torch.autograd.grad(nuclear_norm(matrix), matrix)
    torch.testing.assert_close(grad, torch.diag(torch.tensor([0.25, 0.0, 0.0])))


@pytest.mark.parametrize('views, width', [(2, 16), (8, 5), (4, 4)])
def test_norms_of_many_matrices_are_those_of_each(views, width):
    """Those of rank one, of equal rows among others, and of zeros have the same gradient, too."""
    z = torch.nn.functional.normalize(torch.randn(9, views, width), dim=2).double()
    z[1] = z[1, 0]
    z[2, 1] = z[2, 0]
    z[3] = 0
    z[4, 0] = 0
    z[5] = -z[5, :1]
    together, apart = (z.clone().requires_grad_() for _ in range(2))
    weights = torch.arange(1, 10, dtype=torch.float64)
    norms = nuclear_norms(together)
    expected = torch.stack([nuclear_norm(gram(matrix)) for matrix in apart])
    torch.testing.assert_close(norms, expected, rtol=0, atol=1e-10)
    singular_values = torch.linalg.svdvals(z).sum(1)
    torch.testing.assert_close(norms.detach(), singular_values, rtol=0, atol=1e-6)
    (norms * weights).sum().backward()
    (expected * weights).sum().backward()
    assert together.grad.isfinite().all() and not together.grad[3].any()
    torch.testing.assert_close(together.grad, apart.grad, rtol=0, atol=1e-10)


def test_a_matrix_that_is_not_finite_spoils_its_own_norm_alone():
    z = torch.ones(3, 2, 4)
    z[1, 0, 0] = math.nan
    assert nuclear_norms(z).isfinite().tolist() == [True, False, True]


@pytest.mark.parametrize('shape', [(3, 4), (0, 2, 3), (2, 2, 3, 3)])
def test_norms_are_of_matrices(shape):
    with pytest.raises(ValueError, match=r'\(N, V, D\), got shape'):
        nuclear_norms(torch.ones(shape))
    with pytest.raises(TypeError, match='float32 or float64'):
        nuclear_norms(torch.ones(3, 2, 4).half())


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_identities(shape):
    """Orders of one entropy, and two names of one rate."""
    z = rows(shape)
    g, values = gram(z), torch.linalg.svdvals(z)
    length = values.square().sum().sqrt()
    torch.testing.assert_close(nuclear_norm(g), values.sum())
    torch.testing.assert_close(length * (matrix_entropy(g, 0.5) / 2).exp(), values.sum())
    frobenius = torch.linalg.matrix_norm(g / g.trace())
    torch.testing.assert_close(matrix_entropy(g, 2), -2 * frobenius.log())
    # RankMe is the exponential of the entropy of singular values, which those of G^(1/2) are.
    root = torch.linalg.svd(z).S.diag()
    torch.testing.assert_close(matrix_entropy(root, 1).exp(), effective_rank(z))
    n, d = shape
    torch.testing.assert_close(coding_length(z, 0.2 / d) / (n + d), coding_rate(z, 0.2))


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_covariance_term_is_an_entropy(shape):
    """Of columns with variance 1 that of VICReg is one of order 2."""
    z = rows(shape)
    z = (z - z.mean(dim=0)) / z.std(dim=0)
    n, d = shape
    _, covariance = variance_and_covariance(z)
    entropy = math.log(d) - torch.log1p(covariance)
    torch.testing.assert_close(matrix_entropy(gram(z) / (n - 1), 2), entropy)


def test_series_of_the_logarithm():
    c = rows((6, 6)) / 30
    exact = torch.linalg.eig(torch.eye(6) + c)
    log = (exact.eigenvectors * exact.eigenvalues.log()) @ torch.linalg.inv(exact.eigenvectors)
    torch.testing.assert_close(matrix_log_taylor(c, 30), log.real, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('order', [0.5, 1, 2, 3])
def test_gradient_is_that_of_a_matrix_with_any_trace(order):
    """Rows of unit length, which the losses have, would hide the share of the trace."""
    z = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: matrix_entropy(3 * z @ z.T, order), z.requires_grad_(), atol=1e-7
    )


@pytest.mark.parametrize('cosine', [0.5, 0.99])
def test_single_precision_of_rows_that_are_nearly_equal(cosine):
    """Small eigenvalues are many then, and make most of the nuclear norm and of its gradient."""
    z = torch.randn(256, 128, dtype=torch.float64)
    direction = torch.nn.functional.one_hot(torch.zeros(256, dtype=torch.long), 128)
    z = direction + math.sqrt((1 / cosine - 1) / 128) * z
    z = z / z.norm(dim=1, keepdim=True)
    exact = z.clone().requires_grad_()
    single = z.float().requires_grad_()
    torch.linalg.svdvals(exact).sum().backward()
    norm = nuclear_norm(gram(single))
    norm.backward()
    expected = float(torch.linalg.svdvals(z).sum())
    torch.testing.assert_close(norm.item(), expected, rtol=1e-4, atol=0)
    error = (single.grad - exact.grad).norm() / exact.grad.norm()
    assert error < 0.01, error
    entropy, expected = (matrix_entropy(gram(x), 1).item() for x in (single, z))
    torch.testing.assert_close(entropy, expected, rtol=1e-3, atol=0)
