"""The family's losses beside a second form of each, written without our functions.

Where the licence allows it the second form follows the authors' code line by line; where it does
not, it is written from the formula, in a different way from ours.
"""

import math

import torch
import torch.nn.functional as F

from mmentropy.models import (
    CorInfoMaxLoss,
    EMPSSLLoss,
    FroSSLLoss,
    INTLLoss,
    IVNELoss,
    LeJEPALoss,
    MatrixSSLLoss,
    MMCRLoss,
    SimDINOLoss,
    VICRegLoss,
)


def vicreg(x, y):
    """facebookresearch/vicreg@4e12602:main_vicreg.py#L194-L219 (MIT)."""

    def off_diagonal(m):
        return m[~torch.eye(len(m), dtype=torch.bool)]

    repr_loss = F.mse_loss(x, y)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    std_x, std_y = torch.sqrt(x.var(dim=0) + 0.0001), torch.sqrt(y.var(dim=0) + 0.0001)
    std_loss = torch.mean(F.relu(1 - std_x)) / 2 + torch.mean(F.relu(1 - std_y)) / 2
    cov_x, cov_y = (x.T @ x) / (len(x) - 1), (y.T @ y) / (len(y) - 1)
    cov_loss = sum(off_diagonal(c).pow(2).sum().div(x.size(1)) for c in (cov_x, cov_y))
    return 25.0 * repr_loss + 25.0 * std_loss + 1.0 * cov_loss


def rate(u, eps):
    """Half of the sum of log(1 + D / (N eps) s^2) over the singular values."""
    n, d = u.shape
    return 0.5 * torch.log1p(d / (n * eps) * torch.linalg.svdvals(u).square()).sum()


def emp_ssl(*views):
    """ArXiv 2304.03977, with the weights of tsb0601/EMP-SSL@8fc3758:main.py#L31-L43."""
    u = torch.stack([z / z.norm(dim=1, keepdim=True) for z in views])
    mean = u.mean(0)
    cos = (u * mean).sum(-1) / mean.norm(dim=-1)
    return -200 * cos.mean() - sum(rate(z, 0.2) for z in u) / len(u)


def get_vne(h):
    """jaeill/CVPR23-VNE@c63961b:vne/__init__.py#L15-L19 (MIT)."""
    z = F.normalize(h, dim=1)
    eig_val = torch.linalg.svdvals(z / math.sqrt(len(z))) ** 2
    return -(eig_val * torch.log(eig_val)).nansum()


def ivne(h1, h2):
    """ArXiv 2304.01434."""
    return -4.16 * F.cosine_similarity(h1, h2).mean() - (get_vne(h1) + get_vne(h2)) / 2


def ivne_multicrop(*views):
    """jaeill/CVPR23-VNE@c63961b:examples/i-vne+/train_ivne_imagenet100.py (MIT), 2 global views."""
    sims = [
        F.cosine_similarity(views[i], views[j]).mean()
        for i in range(2)
        for j in range(i + 1, len(views))
    ]
    entropies = [get_vne(view) for view in views]
    return -(4.16 * sum(sims) / len(sims) + sum(entropies) / len(entropies))


def frossl(*z_list):
    """OFSkean/FroSSL@e841c57:solo/losses/frossl.py#L75-L125 (MIT by its setup.py)."""
    n, d = z_list[0].shape
    normalized = [F.normalize(z, p=2, dim=0) for z in z_list]
    average = torch.mean(torch.stack(normalized), dim=0)
    total = 0
    for z in normalized:
        cov = z.T @ z if n > d else z @ z.T
        cov = cov / torch.trace(cov).item()
        regularization = -2 * torch.log(torch.linalg.norm(cov, ord='fro'))
        total = total - regularization + len(z_list) * F.mse_loss(z, average) * d
    return total


def mmcr(*views, local=0.0):
    """ArXiv 2303.03307."""
    u = torch.stack([F.normalize(z, dim=1) for z in views])
    centroids = u.mean(0)
    loss = -torch.linalg.svdvals(centroids).sum()
    return loss + local * torch.linalg.svdvals(u.transpose(0, 1)).sum() / len(centroids)


def corinfomax(z1, z2, state=None, l=0.01, eps=1e-8, alpha=250.0):  # noqa: E741
    """ArXiv 2209.07999; ``state`` is a list of mean and covariance of each view."""
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    n, d = z1.shape
    state = [(0.0, torch.eye(d, dtype=z1.dtype))] * 2 if state is None else state
    total, moved = 0, []
    for z, (mu, r) in zip((z1, z2), state):
        mu = l * mu + (1 - l) * z.sum(0) / n
        r = l * r + (1 - l) * sum(torch.outer(row - mu, row - mu) for row in z) / n
        moved.append((mu.detach(), r.detach()))
        total = total + torch.linalg.eigvalsh(r + eps * torch.eye(d, dtype=z.dtype)).log().sum()
    state[:] = moved
    return alpha * F.mse_loss(z1, z2) - total / d


def simdino(*z, with_teacher=False, eps=0.05):
    """RobinWu218/SimDINO@8149fc4:simdinov2/loss/dino_clstoken_loss.py#L98-L160 (MIT)."""
    student = torch.stack([F.normalize(x, dim=1) for x in z[:-2]])
    teacher = torch.stack([F.normalize(x, dim=1) for x in z[-2:]]).detach()
    sim = (teacher.unsqueeze(1) * student.unsqueeze(0)).sum(-1).mean(-1)
    sim = sim * ~torch.eye(2, len(student), dtype=torch.bool)
    terms = len(teacher) * len(student) - min(len(teacher), len(student))
    comp_loss = sim.sum() / terms
    expa_feat = (student[:2] + teacher) / 2 if with_teacher else student[:2]
    m, p = expa_feat[0].shape
    expa_loss = 0
    for w in expa_feat:
        cov = torch.eye(p, dtype=w.dtype) + p / (m * eps) * w.T @ w
        expa_loss = expa_loss + torch.linalg.cholesky(cov).diagonal().log().sum()
    expa_loss = expa_loss / 2 * (p + m) / (p * m)
    return -comp_loss - expa_loss


def matrix_ssl(pred, target, lam=1.0, mu=1.0, gamma=1.0, order=4):
    """Series over the eigenvalues, and J as a matrix; from the formulas of arXiv 2305.17326."""
    p, t = F.normalize(pred, dim=1), F.normalize(target, dim=1)
    n, d = p.shape
    j = torch.eye(n, dtype=p.dtype) - torch.ones(n, n, dtype=p.dtype) / n
    eye = torch.eye(d, dtype=p.dtype)

    def log(q):
        return sum(
            (-1) ** (k + 1) / k * torch.linalg.matrix_power(q - eye, k) for k in range(1, order + 1)
        )

    uniform = -lam * torch.trace(log(t.T @ j @ p / n + mu * eye))
    align = -torch.trace((t.T @ j @ t / n + mu * eye) @ log(p.T @ j @ p / n + mu * eye))
    return uniform + gamma * align


def sigreg(z, directions):
    """ArXiv 2511.08544, over [-3, 3] by the trapezoidal rule."""
    t = torch.linspace(-3, 3, 33, dtype=z.dtype)
    points = z @ directions
    mean = torch.exp(1j * points[..., None] * t).mean(0)
    error = (mean - torch.exp(-t.square() / 2)).abs().square() * torch.exp(-t.square() / 2)
    return len(z) * torch.trapezoid(error, t, dim=-1).mean()


def lejepa(*views, weight=0.05, directions=None):
    """ArXiv 2511.08544."""
    z = torch.stack(views)
    center = (z[0] + z[1]) / 2
    prediction = torch.stack([F.mse_loss(x, center) for x in z]).mean()
    return (1 - weight) * prediction + weight * sum(sigreg(x, directions) for x in z) / len(z)


def intl(*views, trade_off=0.05, iterations=4, channel=True):
    """ArXiv 2305.16789, with powers of matrices."""

    def white(x):
        x = x - x.mean(0)
        sigma = x.T @ x / (len(x) - 1)
        trace = sigma.trace()
        p = torch.eye(len(sigma), dtype=x.dtype)
        for _ in range(iterations):
            p = (3 * p - torch.linalg.matrix_power(p, 3) @ (sigma / trace)) / 2
        return x @ p / trace.sqrt()

    w = [white(z.T if channel else z) for z in views]
    traces = [(x.var(0) - 1).pow(2).sum() for x in w]
    rows = [F.normalize(x.T if channel else x, dim=1) for x in w]
    pairs = [
        2 - 2 * (rows[0] * r).sum(1).mean() + trade_off * (traces[0] + t)
        for r, t in zip(rows[1:], traces[1:])
    ]
    return sum(pairs) / len(pairs)


# Name: our loss, the second form of it, and the number of its tensors.
FAMILY = {
    'vicreg': (VICRegLoss(), vicreg, 2),
    'emp_ssl': (EMPSSLLoss(), emp_ssl, 4),
    'ivne': (IVNELoss(), ivne, 2),
    'ivne_multicrop': (IVNELoss(global_views=2), ivne_multicrop, 4),
    'frossl': (FroSSLLoss(), frossl, 3),
    'mmcr': (MMCRLoss(), mmcr, 3),
    'mmcr_local': (MMCRLoss(local=0.3), lambda *z: mmcr(*z, local=0.3), 3),
    'simdino': (SimDINOLoss(), simdino, 5),
    'simdino_with_teacher': (
        SimDINOLoss(with_teacher=True),
        lambda *z: simdino(*z, with_teacher=True),
        5,
    ),
    'matrix_ssl': (MatrixSSLLoss(), matrix_ssl, 2),
    'matrix_ssl_half': (
        MatrixSSLLoss(uniformity=0.5, mu=0.5),
        lambda *z: matrix_ssl(*z, lam=0.5, mu=0.5),
        2,
    ),
    'intl': (INTLLoss(trade_off=0.05), intl, 3),
    'intl_batch': (
        INTLLoss('batch', trade_off=0.05),
        lambda *z: intl(*z, channel=False),
        3,
    ),
    'corinfomax': (None, corinfomax, 2),
    'lejepa': (None, None, 4),
}


def pair_of(name, width):
    """A loss of the family for rows of a width, its second form, and the number of tensors."""
    ours, second, count = FAMILY[name]
    if name == 'corinfomax':
        ours = CorInfoMaxLoss(width)
    if name == 'lejepa':
        ours = LeJEPALoss(directions=32)
        directions = torch.eye(width, 32, dtype=torch.float64)
        second = lambda *z: lejepa(*z, directions=directions)  # noqa: E731
    return ours, second, count
