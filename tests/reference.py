"""The papers' formulas written once more, from their sources.

Plain loops, no shared code with the package, never imported by it. MEC is a
transcription (MIT License, Copyright (c) 2022 xinliu20); ER and MinEnt are
written from the formulas, with the released code's constants. DINO is a
condensed transcription (Apache License 2.0, Copyright Facebook, Inc.).
"""

import math

import torch
import torch.nn.functional as F
from scipy.special import iv


def mec_loss(p, z, lamda_inv, order=4):
    """xinliu20/MEC@35045dc:main_pretrain.py#L365-L390 and #L337-L340."""
    p = F.normalize(p)
    z = F.normalize(z)
    c = p @ z.T
    c = c / lamda_inv
    power_matrix = c
    sum_matrix = torch.zeros_like(power_matrix)
    for k in range(1, order + 1):
        if k > 1:
            power_matrix = torch.matmul(power_matrix, c)
        if (k + 1) % 2 == 0:
            sum_matrix = sum_matrix + power_matrix / k
        else:
            sum_matrix = sum_matrix - power_matrix / k
    trace = torch.trace(sum_matrix)
    return -1 * trace / len(p) * lamda_inv


def er_constant(dim, kappa, guard=1e-7):
    """Minus log of the vMF normaliser, as ER's released code has it."""
    return (
        -(dim / 2 - 1) * math.log(kappa)
        + dim / 2 * math.log(2 * math.pi)
        + math.log(iv(dim / 2 - 1, kappa) + guard)
    )


def er_sphere_entropy(z, kappa, estimator, guard=1e-7):
    """ER, section 4.1: one kernel density per point, row by row."""
    n, dim = z.shape
    minus_log_density = torch.stack(
        [
            -torch.log(sum(torch.exp(kappa * z[i] @ z[j]) for j in range(n)) / n)
            + er_constant(dim, kappa, guard)
            for i in range(n)
        ]
    )
    if estimator == 'joe':
        return minus_log_density.mean()
    density = torch.exp(-(minus_log_density - minus_log_density.min()))
    return (density / density.sum() * minus_log_density).sum()


def er_sphere_reconstruction(z1, z2, kappa, guard=1e-7):
    rows = [-kappa * a @ b for a, b in zip(z1, z2)]
    return sum(rows) / len(rows) + er_constant(z1.size(1), kappa, guard)


def er_discrete_entropy(probs, guard=1e-7):
    mean = sum(probs) / len(probs)
    return sum(-p * torch.log(p + guard) for p in mean)


def er_discrete_reconstruction(p1, p2, guard=1e-7):
    total = 0.0
    for a, b in zip(p1, p2):
        total = total - 0.5 * (a * torch.log(b + guard)).sum()
        total = total - 0.5 * (b * torch.log(a + guard)).sum()
    return total / len(p1)


class DINOLoss:
    """facebookresearch/dino@04c0ad9:main_dino.py, one process."""

    def __init__(self, out_dim, ncrops, teacher_temp, student_temp=0.1, center_momentum=0.9):
        self.center = torch.zeros(1, out_dim, dtype=torch.float64)
        self.ncrops = ncrops
        self.teacher_temp = teacher_temp
        self.student_temp = student_temp
        self.center_momentum = center_momentum

    def __call__(self, student_output, teacher_output):
        student = (student_output / self.student_temp).chunk(self.ncrops)
        teacher = F.softmax((teacher_output - self.center) / self.teacher_temp, dim=-1).chunk(2)
        total, terms = 0.0, 0
        for i, q in enumerate(teacher):
            for v in range(self.ncrops):
                if v != i:
                    logs = F.log_softmax(student[v], dim=-1)
                    total = total - (q * logs).sum(-1).mean()
                    terms += 1
        self.center = self.center * self.center_momentum + teacher_output.mean(0) * (
            1 - self.center_momentum
        )
        return total / terms


def min_ent_target(g, norm):
    """MinEnt's README: normalise along the batch, then the largest."""
    if norm == 'batch':
        mean = g.mean(0)
        var = ((g - mean) ** 2).mean(0)
        g = (g - mean) / (var + 1e-5) ** 0.5
    elif norm == 'softmax':
        e = (g - g.max(0).values).exp()
        g = e / e.sum(0)
    elif norm == 'l2':
        g = g / (g**2).sum(0) ** 0.5
    return [int(row.argmax()) for row in g]


def min_ent_loss(g1, g2, norm):
    target1 = min_ent_target(g1.detach(), norm)
    target2 = min_ent_target(g2.detach(), norm)
    total = 0.0
    for i in range(len(g1)):
        total = total - torch.log_softmax(g1[i], 0)[target2[i]]
        total = total - torch.log_softmax(g2[i], 0)[target1[i]]
    return 0.5 * total / len(g1)
