"""The objectives of the family, ours, the authors' and those of other libraries, for two views.

The authors' definitions, and those of solo-learn and stable-pretraining, are read from clones of
their repositories in the folder AUTHORS, each under the repository's name; nothing of them is here.
``AUTHORS=work_dirs/authors`` is the default:

    git clone https://github.com/tsb0601/EMP-SSL work_dirs/authors/EMP-SSL

lightly is used where it is installed.
"""

import __future__

import ast
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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

AUTHORS = Path(os.environ.get('AUTHORS', 'work_dirs/authors'))
# The repositories and commits that the definitions are those of.
SOURCES = dict(
    vicreg='facebookresearch/vicreg@4e12602',
    emp_ssl='tsb0601/EMP-SSL@8fc3758',
    ivne='jaeill/CVPR23-VNE@c63961b',
    frossl='OFSkean/FroSSL@e841c57',
    mmcr='ThomasYerxa/mmcr@fafd3a9',
    corinfomax='serdarozsoy/corinfomax-ssl@c0b917e',
    intl='winci-ai/INTL@0aa69af',
    lejepa='rbalestr-lab/lejepa@eddffdd',
    simdino='RobinWu218/SimDINO@8149fc4',
    matrix_ssl='yifanzhang-pro/Matrix-SSL@b8164df',
    wmse='htdt/self-supervised@d9662c8',
)
LIBRARIES = dict(
    lightly='lightly 1.6.0',
    solo_learn='vturrisi/solo-learn@9187ea3',
    stable_pretraining='galilai-group/stable-pretraining@d15ec96',
)
DIRECTIONS = 1024
# Two views (N, D), with gradient; where there is a teacher, its projections are taken for theirs.
Loss = Callable[[Tensor, Tensor], Tensor]
Make = Callable[[int], Loss]


def definitions(path: str, *names: str, **given: Any) -> SimpleNamespace:
    """Functions and classes of a file of the authors', without the rest of the file.

    Args:
        path: In the folder AUTHORS.
        names: The definitions.
        given: What they use of the rest of the file.
    """
    tree = ast.parse((AUTHORS / path).read_text())
    tree.body = [node for node in tree.body if getattr(node, 'name', None) in names]
    scope = dict(torch=torch, nn=nn, F=F, np=np, math=math, dist=torch.distributed) | given
    # Annotations are not evaluated.
    flags = __future__.annotations.compiler_flag
    exec(compile(tree, path, 'exec', flags), scope)
    return SimpleNamespace(**{name: scope[name] for name in names})


class OnCPU(TorchFunctionMode):
    """Where code asks for a GPU, it gets the CPU."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = {k: 'cpu' if v == 'cuda' else v for k, v in (kwargs or {}).items()}
        return func(*args, **kwargs)


class OneRank:
    """What stands for a gathering of all ranks."""

    @staticmethod
    def apply(x: Tensor) -> tuple[Tensor]:
        return (x,)


def module(loss: nn.Module) -> Loss:
    """One of our losses as a function."""
    return lambda a, b: loss(a, b)['loss']


def authors_vicreg(width: int) -> Loss:
    code = definitions('vicreg/main_vicreg.py', 'VICReg', 'off_diagonal', FullGatherLayer=OneRank)
    same = nn.Identity()

    def loss(a: Tensor, b: Tensor) -> Tensor:
        args = dict(batch_size=len(a), sim_coeff=25.0, std_coeff=25.0, cov_coeff=1.0)
        model = dict(projector=same, backbone=same, num_features=width)
        return code.VICReg.forward(SimpleNamespace(args=SimpleNamespace(**args), **model), a, b)

    return loss


def authors_emp_ssl(width: int) -> Loss:
    rate = definitions('EMP-SSL/loss.py', 'TotalCodingRate').TotalCodingRate(eps=0.2)
    code = definitions('EMP-SSL/main.py', 'Similarity_Loss', 'cal_TCR')
    similarity = code.Similarity_Loss()

    def loss(a: Tensor, b: Tensor) -> Tensor:
        # Their network ends with unit rows.
        z = [F.normalize(a), F.normalize(b)]
        return 200 * similarity(z, None)[0] + code.cal_TCR(torch.cat(z), rate, 2)

    return loss


def authors_ivne(width: int) -> Loss:
    vne = definitions('CVPR23-VNE/vne/__init__.py', 'get_vne').get_vne
    return lambda a, b: -4.16 * F.cosine_similarity(a, b).mean() - (vne(a) + vne(b)) / 2


def authors_frossl(width: int) -> Loss:
    code = definitions('FroSSL/solo/losses/frossl.py', 'multiview_frossl_loss_func')
    return lambda a, b: code.multiview_frossl_loss_func([a, b])


def authors_mmcr(width: int) -> Loss:
    import einops

    code = definitions('mmcr/mmcr/imagenet/loss_mmcr.py', 'MMCR_Loss', einops=einops)
    loss = code.MMCR_Loss(0.0, 2, distributed=False)
    return lambda a, b: loss(torch.stack([a, b], dim=1).flatten(0, 1))[0]


def authors_corinfomax(width: int) -> Loss:
    path = 'corinfomax-ssl/cifars-tiny/loss.py'
    code = definitions(path, 'CovarianceLoss', 'invariance_loss')
    weights = dict(R_ini=1.0, la_R=0.01, la_mu=0.01, R_eps_weight=1e-8)
    with OnCPU():
        covariance = code.CovarianceLoss(SimpleNamespace(projector=str(width), **weights))

    def loss(a: Tensor, b: Tensor) -> Tensor:
        a, b = F.normalize(a), F.normalize(b)
        return 250 * code.invariance_loss(a, b) + covariance(a, b)

    return loss


def authors_intl(width: int) -> Loss:
    import abc

    names = ('Whitening2d', 'Whitening2dIterNorm')
    code = definitions('INTL/methods/whitening.py', *names, abc=abc, FullGatherLayer=OneRank)
    trace = definitions('INTL/methods/intl.py', 'TL').TL
    base = definitions('INTL/methods/base.py', 'norm_mse_loss', 'cal_trade_off')
    whitening = code.Whitening2dIterNorm(axis=0, iterations=4)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        weight = base.cal_trade_off(SimpleNamespace(axis=0, bs=len(a)))
        a, b = whitening(a), whitening(b)
        return base.norm_mse_loss(b, a) + weight * (trace(b, 0) + trace(a, 0))

    return loss


def authors_lejepa(width: int) -> Loss:
    test = definitions(
        'lejepa/lejepa/univariate/epps_pulley.py', 'EppsPulley', 'all_reduce', UnivariateTest=Test
    )
    sliced = definitions(
        'lejepa/lejepa/multivariate/slicing.py', 'SlicingUnivariateTest', 'all_reduce'
    )
    sigreg = sliced.SlicingUnivariateTest(test.EppsPulley(), DIRECTIONS)
    return lambda a, b: lejepa(a, b, sigreg)


class Test(nn.Module):
    """The base class of the tests of LeJEPA's authors, on one rank."""

    world_size = 1


def lejepa(a: Tensor, b: Tensor, sigreg: Callable[[Tensor], Tensor]) -> Tensor:
    """The paper's sum, of two global views: the authors' package has its second term only."""
    views = torch.stack([a, b])
    return 0.95 * (views - views.mean(dim=0)).square().mean() + 0.05 * sigreg(views)


def authors_simdino(width: int) -> Loss:
    names = ('half_logdet', 'DINOCenter', 'MCRLoss')
    code = definitions('SimDINO/simdinov2/loss/dino_clstoken_loss.py', *names)
    loss = code.MCRLoss(width, eps=0.05)
    return lambda a, b: loss([a, b], [a.detach(), b.detach()], normalized=False)[0]


def authors_matrix_ssl(width: int) -> Loss:
    names = ('centering_matrix', 'matrix_log', 'mce_loss_func')
    code = definitions('Matrix-SSL/main_pretrain.py', *names, gather_from_all=lambda x: x)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return sum(code.mce_loss_func(b.detach(), a, correlation=each) for each in (True, False))

    return loss


def lightly_vicreg(width: int) -> Loss:
    from lightly.loss import VICRegLoss

    return VICRegLoss()


def solo_vicreg(width: int) -> Loss:
    path = 'solo-learn/solo/losses/vicreg.py'
    parts = ('invariance_loss', 'variance_loss', 'covariance_loss', 'vicreg_loss_func')
    return definitions(path, *parts, gather=lambda x: x).vicreg_loss_func


def stable_vicreg(width: int) -> Loss:
    losses = 'stable-pretraining/stable_pretraining/losses'
    parts = definitions(f'{losses}/utils.py', 'VCRegLoss', 'off_diagonal', all_gather=OneRank.apply)
    path = f'{losses}/joint_embedding.py'
    return definitions(path, 'VICRegLoss', VCRegLoss=parts.VCRegLoss).VICRegLoss()


def lightly_emp_ssl(width: int) -> Loss:
    from lightly.loss import EMPSSLLoss

    loss = EMPSSLLoss()
    return lambda a, b: loss([F.normalize(a), F.normalize(b)])


def lightly_frossl(width: int) -> Loss:
    from lightly.loss import FroSSLLoss

    loss = FroSSLLoss()
    return lambda a, b: loss([a, b])


def lightly_mmcr(width: int) -> Loss:
    from lightly.loss import MMCRLoss

    loss = MMCRLoss(lmda=0.0)
    return lambda a, b: loss(F.normalize(a)[:, None], F.normalize(b)[:, None])


def lightly_lejepa(width: int) -> Loss:
    from lightly.loss.lejepa_loss import SIGReg

    sigreg = SIGReg(num_vectors=DIRECTIONS)
    return lambda a, b: lejepa(a, b, sigreg)


def stable_lejepa(width: int) -> Loss:
    path = 'stable-pretraining/stable_pretraining/methods/lejepa.py'
    names = ('EppsPulley', 'SlicedEppsPulley', 'LeJEPA')
    code = definitions(path, *names, Module=nn.Module)
    sigreg = code.SlicedEppsPulley(DIRECTIONS)
    return lambda a, b: code.LeJEPA._compute_loss(torch.stack([a, b]), 2, sigreg, 0.05)[0]


def our_simdino(width: int) -> Loss:
    loss = SimDINOLoss()
    return lambda a, b: loss(a, b, a.detach(), b.detach())['loss']


def our_matrix_ssl(width: int) -> Loss:
    loss = MatrixSSLLoss()
    return lambda a, b: loss(a, b.detach())['loss']


OURS: dict[str, Make] = dict(
    vicreg=lambda width: module(VICRegLoss()),
    emp_ssl=lambda width: module(EMPSSLLoss()),
    ivne=lambda width: module(IVNELoss()),
    frossl=lambda width: module(FroSSLLoss()),
    mmcr=lambda width: module(MMCRLoss()),
    corinfomax=lambda width: module(CorInfoMaxLoss(width)),
    intl=lambda width: module(INTLLoss()),
    lejepa=lambda width: module(LeJEPALoss(directions=DIRECTIONS)),
    simdino=our_simdino,
    matrix_ssl=our_matrix_ssl,
)
THEIRS: dict[str, dict[str, Make]] = dict(
    vicreg=dict(
        authors=authors_vicreg,
        lightly=lightly_vicreg,
        solo_learn=solo_vicreg,
        stable_pretraining=stable_vicreg,
    ),
    emp_ssl=dict(authors=authors_emp_ssl, lightly=lightly_emp_ssl),
    ivne=dict(authors=authors_ivne),
    frossl=dict(authors=authors_frossl, lightly=lightly_frossl),
    mmcr=dict(authors=authors_mmcr, lightly=lightly_mmcr),
    corinfomax=dict(authors=authors_corinfomax),
    intl=dict(authors=authors_intl),
    lejepa=dict(authors=authors_lejepa, lightly=lightly_lejepa, stable_pretraining=stable_lejepa),
    simdino=dict(authors=authors_simdino),
    matrix_ssl=dict(authors=authors_matrix_ssl),
)


def contestants(objective: str, width: int) -> dict[str, Loss]:
    """Ours and those of others that can be used here, by their names."""
    found = {'ours': OURS[objective](width)}
    for name, make in THEIRS[objective].items():
        try:
            found[name] = make(width)
        except (ImportError, FileNotFoundError) as error:
            print(f'{objective}: {name} is left out: {error}')
    return found
