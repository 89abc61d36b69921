"""Our MEC and MinEnt beside the authors' training, weight by weight.

Both start from the same weights and see the same views for ten iterations, in float64. Ours is
built from a recipe with smaller widths and trained by a Runner. With the authors' schedules
nothing may differ but rounding. With its own schedules, each test says what differs in which
iteration, and how far losses and weights are apart then.
"""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS
from official_steps import (
    OfficialMEC,
    OfficialMinEnt,
    SmallResNet,
    mec_schedules,
    min_ent_lr,
    train_mec,
    train_min_ent,
)
from repository import REPOSITORY
from torch.utils.data import Dataset

from mmentropy.engine.train_loop import use_train_loop

pytestmark = pytest.mark.slow

EPOCHS, BATCHES, BATCH_SIZE = 5, 2, 16
ITERATIONS = EPOCHS * BATCHES
WARMUP_EPOCHS = 2
DIM, PREDICTOR_DIM = 12, 8
# At 16 rows the distortion of the code, 0.03125, would let the series diverge.
DISTORTION = 0.25
WIDTHS = [12, 6]
RUNNING = {'running_mean', 'running_var', 'num_batches_tracked'}


@DATASETS.register_module()
class TwoExactViews(Dataset):
    """Two views of float64 of each image, the same in every run."""

    def __init__(self):
        seeded = torch.Generator().manual_seed(1)
        shape = BATCHES * BATCH_SIZE, 3, 8, 8
        images = torch.randn(shape, generator=seeded, dtype=torch.float64)
        noise = torch.randn((2, *shape), generator=seeded, dtype=torch.float64)
        self.views = images + 0.5 * noise

    def __len__(self):
        return BATCHES * BATCH_SIZE

    def __getitem__(self, index):
        return dict(inputs=[view[index] for view in self.views], data_samples=0)

    def batches(self):
        """The views of all iterations, in the order of a loader that does not shuffle."""
        return [
            [view[i * BATCH_SIZE : (i + 1) * BATCH_SIZE] for view in self.views]
            for _ in range(EPOCHS)
            for i in range(BATCHES)
        ]


@HOOKS.register_module()
class ParityHook(Hook):
    """Sets the schedules that it is given, and notes what each iteration did.

    Args:
        given: Numbers per iteration by name, of ``lr``, ``lamda_inv`` and ``momentum``.
    """

    def __init__(self, given):
        self.given = {name: list(values) for name, values in given.items()}
        self.seen = dict(lr=[], lamda_inv=[], momentum=[], loss=[], state=[])

    def before_train(self, runner):
        runner.model.double()
        self.start = copy.deepcopy(runner.model.state_dict())
        self.target = getattr(runner.model, 'target_net', None)
        if self.target is not None:
            own = self.target.current_momentum

            def current_momentum(step):
                # The move before iteration k is the authors' move after iteration k - 1.
                number = len(self.seen['momentum'])
                share = own(step)
                if 'momentum' in self.given:
                    share = 1 - self.given['momentum'][number]
                self.seen['momentum'].append(1 - share)
                return share

            self.target.current_momentum = current_momentum

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if 'lr' in self.given:
            for group in runner.optim_wrapper.param_groups:
                group['lr'] = self.given['lr'][runner.iter]
        self.seen['lr'].append(runner.optim_wrapper.param_groups[0]['lr'])
        if self.target is not None:
            loss = runner.model.head.loss_module
            full = BATCH_SIZE * loss.distortion
            if 'lamda_inv' in self.given:
                scale = self.given['lamda_inv'][runner.iter] / full
                loss.warmup_scale = lambda: scale
            self.seen['lamda_inv'].append(full * loss.warmup_scale())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        assert outputs['loss'].dtype == torch.float64
        self.seen['loss'].append(outputs['loss'].item())
        self.seen['state'].append(copy.deepcopy(runner.model.state_dict()))


def recipe(name):
    """A recipe with a network, data and a length for a test."""
    cfg = Config.fromfile(REPOSITORY / 'configs' / name)
    cfg.model.backbone = dict(
        type='ResNet_CIFAR',
        depth=18,
        stem_channels=8,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        norm_cfg=cfg.norm_cfg,
        zero_init_residual=False,
    )
    # The one of mmpretrain would make the views float32.
    cfg.data_preprocessor = dict(type='mmengine.BaseDataPreprocessor')
    cfg.train_dataloader = dict(
        batch_size=BATCH_SIZE,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='TwoExactViews'),
    )
    cfg.train_cfg.max_epochs = EPOCHS
    cfg.default_hooks = dict(checkpoint=None, logger=None)
    return cfg


def mec_recipe():
    cfg = recipe('mec/r50_8xb128_100e_in1k.py')
    cfg.model.neck.update(in_channels=16, hid_channels=16, out_channels=DIM)
    cfg.model.head.predictor.update(in_channels=DIM, hid_channels=PREDICTOR_DIM, out_channels=DIM)
    cfg.model.head.loss.update(distortion=DISTORTION, warmup=WARMUP_EPOCHS / EPOCHS)
    warmup, cosine = cfg.param_scheduler
    warmup.end = cosine.begin = WARMUP_EPOCHS
    cfg.auto_scale_lr.enable = True
    return cfg


def min_ent_recipe():
    cfg = recipe('minent/minent_r18_1xb128_1000e_cifar10.py')
    cfg.model.head.update(in_channels=16, hid_channels=16, out_channels=WIDTHS)
    warmup, drops = cfg.param_scheduler
    # As much of the first iteration's rate as the recipe has, of a shorter warm-up.
    length = WARMUP_EPOCHS * BATCHES
    warmup.update(start_factor=warmup.start_factor * warmup.end / length, end=length)
    drops.milestones = [EPOCHS - 2, EPOCHS - 1]
    cfg.custom_hooks = []
    return cfg


def train_ours(cfg, folder, given=()):
    """Train by a Runner, and return what ``ParityHook`` has noted."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(folder)
    cfg.experiment_name = folder.name
    hook = ParityHook(dict(given))
    runner = Runner.from_cfg(cfg)
    runner.register_hook(hook)
    use_train_loop(runner)
    runner.train()
    return hook


def renamed(state, names):
    """Our state dict with the prefixes of the authors', the longest that fits first."""
    result = {}
    for key, value in state.items():
        prefix = max((name for name in names if key.startswith(name)), key=len, default=None)
        if prefix is not None:
            result[names[prefix] + key[len(prefix) :]] = value
    return result


NECK = dict(fc0=0, bn0=1, fc1=3, bn1=4, fc2=6, bn2=7)
MEC_NAMES = (
    {'backbone.': 'encoder.', 'target_net.module.0.': 'teacher.'}
    | {f'neck.{ours}.': f'encoder.fc.{theirs}.' for ours, theirs in NECK.items()}
    | {f'target_net.module.1.{ours}.': f'teacher.fc.{theirs}.' for ours, theirs in NECK.items()}
    | {
        f'head.predictor.{ours}.': f'predictor.{i}.'
        for ours, i in dict(fc0=0, bn0=1, fc1=3).items()
    }
)


def official_mec_state(state):
    return renamed(state, MEC_NAMES)


def official_min_ent_state(state):
    """All hidden layers are one layer in ours, the projectors above each other."""
    result = renamed(state, {'backbone.': 'model.'})
    for key, value in state.items():
        if key.startswith('head.projectors.'):
            kind, index, name = key.split('.')[2:]
            if kind == 'last':
                result[f'heads.{index}.6.{name}'] = value
                continue
            parts = value.chunk(len(WIDTHS)) if value.dim() else [value] * len(WIDTHS)
            for head, part in enumerate(parts):
                result[f'heads.{head}.{3 * int(index) + (kind == "bns")}.{name}'] = part
    return result


def differences(ours, theirs):
    """The largest difference of weights and running statistics, after each iteration.

    Two kinds of running statistics are left out, which training does not read. Those of the
    teacher are copied from the online network in ours, and its own in the authors' code. The
    predictor sees the second view first in ours, so that the last of two averages is another.
    """

    def compared(key):
        parts = key.split('.')
        return not ({'teacher', 'predictor'} & set(parts) and parts[-1] in RUNNING)

    return [
        max(float((our[key] - their[key]).abs().max()) for key in our if compared(key))
        for our, their in zip(ours, theirs, strict=True)
    ]


def train_official(model, steps):
    """Losses, and the state dict after each step."""
    losses, states = [], []
    for loss in steps:
        losses.append(loss)
        states.append(copy.deepcopy(model.state_dict()))
    return losses, states


def start_official(model, state):
    """Load our first weights into a network of the authors', whose teacher copies them."""
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    missing = {key for key in left.missing_keys if not key.startswith('teacher.')}
    if not hasattr(model, 'teacher'):
        assert not missing
        return
    # The authors' projector ends in a frozen bias and a batch norm, which takes it out again.
    # Ours has no such bias. It is 0 here because it would shift the running mean.
    assert missing == {'encoder.fc.6.bias'}
    torch.nn.init.zeros_(model.encoder.fc[6].bias)
    model.teacher.load_state_dict(model.encoder.state_dict())


@pytest.fixture(scope='module')
def mec(tmp_path_factory):
    """The authors' training, and ours by the schedules that are given to it."""
    schedules = mec_schedules(EPOCHS, BATCHES, WARMUP_EPOCHS, BATCH_SIZE, DIM, eps=DISTORTION * DIM)
    folder = tmp_path_factory.mktemp('mec')
    cfg = mec_recipe()
    ours = dict(
        given=train_ours(cfg, folder / 'given', schedules),
        own=train_ours(cfg, folder / 'own'),
    )
    model = OfficialMEC(SmallResNet, DIM, PREDICTOR_DIM).double()
    start = {k: v for k, v in ours['own'].start.items() if not k.startswith('target_net')}
    start_official(model, official_mec_state(start))
    steps = train_mec(model, TwoExactViews().batches(), schedules)
    losses, states = train_official(model, steps)
    return schedules, losses, states, ours


@pytest.fixture(scope='module')
def min_ent(tmp_path_factory):
    rates = min_ent_lr(EPOCHS, BATCHES, WARMUP_EPOCHS * BATCHES, drops=(2, 1))
    folder = tmp_path_factory.mktemp('min_ent')
    cfg = min_ent_recipe()
    ours = dict(
        given=train_ours(cfg, folder / 'given', dict(lr=rates)),
        own=train_ours(cfg, folder / 'own'),
    )
    model = OfficialMinEnt(SmallResNet, 16, WIDTHS).double()
    start_official(model, official_min_ent_state(ours['own'].start))
    steps = train_min_ent(model, TwoExactViews().batches(), rates)
    losses, states = train_official(model, steps)
    return rates, losses, states, ours


def weights_apart(hook, mapped, states):
    return differences([mapped(state) for state in hook.seen['state']], states)


def apart(ours, theirs):
    """The largest difference of two lists of numbers of equal length."""
    assert len(ours) == len(theirs)
    return np.abs(np.subtract(ours, theirs)).max()


def test_mec_by_the_authors_schedules(mec):
    schedules, losses, states, ours = mec
    hook = ours['given']
    for name in ('lr', 'lamda_inv'):
        assert apart(hook.seen[name], schedules[name]) == 0
    assert apart(hook.seen['loss'], losses) < 1e-10
    assert max(weights_apart(hook, official_mec_state, states)) < 1e-8
    # The training was one: each loss is far from the one before.
    assert np.abs(np.diff(losses)).min() > 0.01


def test_mec_by_its_own_schedules(mec):
    """Nothing differs but the first learning rate, which mmengine cannot make 0."""
    schedules, losses, states, ours = mec
    seen = ours['own'].seen
    base = schedules['lr'].max()
    assert 0 < seen['lr'][0] <= 1e-12 * base and schedules['lr'][0] == 0
    assert apart(seen['lr'], schedules['lr']) <= 1e-12 * base
    assert apart(seen['lamda_inv'], schedules['lamda_inv']) < 1e-12
    # The target copies at first. The authors' moves once more, after the last iteration.
    assert apart(seen['momentum'], schedules['momentum'][:-1]) < 1e-12
    assert apart(seen['loss'], losses) < 1e-10
    assert max(weights_apart(ours['own'], official_mec_state, states)) < 1e-8


def test_min_ent_by_the_authors_schedules(min_ent):
    rates, losses, states, ours = min_ent
    assert apart(ours['given'].seen['loss'], losses) < 1e-10
    assert max(weights_apart(ours['given'], official_min_ent_state, states)) < 1e-8
    assert np.abs(np.diff(losses)).max() > 0.1


def test_min_ent_by_its_own_schedules(min_ent):
    """Nothing differs: the warm-up, its end and both drops are the authors'."""
    rates, losses, states, ours = min_ent
    assert apart(ours['own'].seen['lr'], rates) < 1e-15
    assert apart(ours['own'].seen['loss'], losses) < 1e-10
    assert max(weights_apart(ours['own'], official_min_ent_state, states)) < 1e-8
