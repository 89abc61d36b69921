"""Training as the authors of MEC and of MinEnt train, on a network of two small stages.

MEC is a transcription of xinliu20/MEC@35045dc (MIT License, Copyright (c) 2022 xinliu20), from
``mec/builder.py`` and ``main_pretrain.py``, for one process. MinEnt's code has no licence, so its
step is written from the formula; the comments name the lines that it corresponds to.
"""

import copy

import numpy as np
import torch
from reference import mec_loss, min_ent_loss
from torch import nn
from torchvision.models.resnet import BasicBlock


class SmallResNet(nn.Module):
    """torchvision's ResNet for images of few pixels: two stages of two blocks, 8 and 16 wide."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16))
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2, shortcut), BasicBlock(16, 16))
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


# -- MEC ---------------------------------------------------------------------


class OfficialMEC(nn.Module):
    """mec/builder.py#L6-L61."""

    def __init__(self, base_encoder, dim, pred_dim):
        super().__init__()
        self.encoder = base_encoder(num_classes=dim)
        prev_dim = self.encoder.fc.weight.shape[1]
        self.encoder.fc = nn.Sequential(
            nn.Linear(prev_dim, prev_dim, bias=False),
            nn.BatchNorm1d(prev_dim),
            nn.ReLU(inplace=True),
            nn.Linear(prev_dim, prev_dim, bias=False),
            nn.BatchNorm1d(prev_dim),
            nn.ReLU(inplace=True),
            self.encoder.fc,
            nn.BatchNorm1d(dim, affine=False),
        )
        self.encoder.fc[6].bias.requires_grad = False
        self.predictor = nn.Sequential(
            nn.Linear(dim, pred_dim, bias=False),
            nn.BatchNorm1d(pred_dim),
            nn.ReLU(inplace=True),
            nn.Linear(pred_dim, dim),
        )
        self.teacher = copy.deepcopy(self.encoder)
        for p in self.teacher.parameters():
            p.requires_grad = False

    def forward(self, x1, x2):
        z1 = self.predictor(self.encoder(x1))
        z2 = self.predictor(self.encoder(x2))
        with torch.no_grad():
            p1 = self.teacher(x1)
            p2 = self.teacher(x2)
        return z1, z2, p1.detach(), p2.detach()


def cosine_scheduler(base_value, final_value, epochs, niter_per_ep, warmup_epochs=0):
    """main_pretrain.py#L474-L485, whose warm-up begins at 0."""
    warmup_iters = warmup_epochs * niter_per_ep
    warmup_schedule = np.linspace(0, base_value, warmup_iters) if warmup_epochs else np.array([])
    iters = np.arange(epochs * niter_per_ep - warmup_iters)
    schedule = final_value + 0.5 * (base_value - final_value) * (
        1 + np.cos(np.pi * iters / len(iters))
    )
    return np.concatenate((warmup_schedule, schedule))


def lamda_scheduler(start_warmup_value, base_value, epochs, niter_per_ep, warmup_epochs):
    """main_pretrain.py#L488-L497."""
    warmup_iters = warmup_epochs * niter_per_ep
    warmup_schedule = np.linspace(start_warmup_value, base_value, warmup_iters)
    schedule = np.ones(epochs * niter_per_ep - warmup_iters) * base_value
    return np.concatenate((warmup_schedule, schedule))


def mec_schedules(epochs, niter_per_ep, warmup_epochs, batch_size, dim, eps):
    """main_pretrain.py#L269-L283, ``main_worker`` with the defaults of its arguments.

    Returns:
        Per iteration, by name: ``lr``, ``lamda_inv`` and ``momentum``.
    """
    init_lr = 0.5 * batch_size / 256
    lamda = 1 / (batch_size * eps / dim)
    return dict(
        momentum=cosine_scheduler(0.996, 1, epochs, niter_per_ep),
        lr=cosine_scheduler(init_lr, 0, epochs, niter_per_ep, warmup_epochs),
        lamda_inv=lamda_scheduler(8 / lamda, 1 / lamda, epochs, niter_per_ep, warmup_epochs),
    )


def train_mec(model, batches, schedules):
    """main_pretrain.py#L302-L355, ``train`` for all batches.

    Yields:
        The loss of an iteration, after the step of the optimiser and before that of the teacher.
    """
    optimizer = torch.optim.SGD(model.parameters(), 0.0, momentum=0.9, weight_decay=1e-5)
    model.train()
    for it, (x1, x2) in enumerate(batches):
        lamda_inv, momentum = schedules['lamda_inv'][it], schedules['momentum'][it]
        for param_group in optimizer.param_groups:
            param_group['lr'] = schedules['lr'][it]
        z1, z2, p1, p2 = model(x1=x1, x2=x2)
        loss = 0.5 * (mec_loss(p1, z2, lamda_inv) + mec_loss(p2, z1, lamda_inv))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
        with torch.no_grad():
            for param_q, param_k in zip(model.encoder.parameters(), model.teacher.parameters()):
                param_k.data.mul_(momentum).add_((1 - momentum) * param_q.detach().data)


# -- MinEnt ------------------------------------------------------------------


class OfficialMinEnt(nn.Module):
    """An encoder without its last layer, and per width a projector of three linear layers.

    It corresponds to LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py#L108-L130 and L176-L201.
    """

    def __init__(self, base_encoder, hidden, widths):
        super().__init__()
        self.model = base_encoder(num_classes=1)
        features, self.model.fc = self.model.fc.in_features, nn.Identity()
        self.heads = nn.ModuleList(projector(features, hidden, width) for width in widths)

    def forward(self, x1, x2):
        f1, f2 = self.model(x1), self.model(x2)
        losses = [min_ent_loss(head(f1), head(f2), 'batch') for head in self.heads]
        return sum(losses) / len(losses)


def projector(features, hidden, width):
    """Three linear layers with batch norm and ReLU between them."""
    layers = []
    for inputs in (features, hidden):
        layers += [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, width))


def min_ent_lr(epochs, niter_per_ep, warmup_iters=500, drops=(50, 25)):
    """The learning rate of each iteration: a warm-up to 1e-3, and a fifth of it at each drop.

    It corresponds to MinEnt/runner.py#L19-L20, L55-L58 and L81-L82, and to config.py#L57-L58.

    Args:
        drops: Epochs before the end.
    """
    rates = []
    for it in range(epochs * niter_per_ep):
        rate = 1e-3 * 0.2 ** sum(it // niter_per_ep >= epochs - drop for drop in drops)
        rates.append(rate * min(1, (it + 1) / warmup_iters))
    return np.array(rates)


def train_min_ent(model, batches, rates):
    """One step of Adam per batch, as MinEnt/runner.py#L35-L36 and L54-L70 take it.

    Yields:
        The loss of an iteration, after the step of the optimiser.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)
    model.train()
    for rate, (x1, x2) in zip(rates, batches):
        for group in optimizer.param_groups:
            group['lr'] = rate
        loss = model(x1, x2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
