"""Learning rate, lambda and EMA of recipes, iteration by iteration, against the authors' codes."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from official_steps import cosine_scheduler, lamda_scheduler, min_ent_lr
from repository import REPOSITORY
from torch import nn

from mmentropy.models.base import target_projections
from mmentropy.models.ema import ForeachEMA


class Probe(BaseModel):
    """A linear layer with an EMA, which looks at schedules when it is called."""

    def __init__(self, momentum, loss):
        super().__init__()
        self.backbone, self.neck = nn.Linear(2, 2), nn.Identity()
        self.target_net = ForeachEMA(nn.Sequential(self.backbone, self.neck), momentum)
        self.lambda_loss = MODELS.build(loss)
        self.scales, self.targets = [], []

    def forward(self, inputs, mode):
        target_projections(self, [inputs])
        self.scales.append(self.lambda_loss.warmup_scale())
        self.targets.append(self.target_net.module[0].weight.clone())
        return dict(loss=self.backbone(inputs).sin().mean())


class Record(Hook):
    """The learning rate before each step, and the weights after it."""

    def __init__(self):
        self.rates, self.weights = [], []

    def before_train_iter(self, runner, *args, **kwargs):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])

    def after_train_iter(self, runner, *args, **kwargs):
        self.weights.append(runner.model.backbone.weight.detach().clone())


def followed(cfg, length, tmp_path, momentum=0.004, loss=None):
    """The probe and the record of a run with the schedules of a recipe."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    record = Record()
    probe = Probe(momentum, loss or dict(type='MECLoss')).double()
    runner = Runner(
        model=probe,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.randn(2).double()) for _ in range(length)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
            batch_size=1,
        ),
        train_cfg=cfg.train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=cfg.optim_wrapper.optimizer.lr)),
        param_scheduler=cfg.param_scheduler,
        default_hooks=dict(logger=None, checkpoint=None, timer=None),
        custom_hooks=[record],
        experiment_name=tmp_path.name,
        # Without it the Runner would leave mmengine's scope to the tests that follow.
        default_scope='mmpretrain',
    )
    runner.train()
    return probe, record


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, epochs, lr',
    [
        ('r50_8xb128_100e_in1k', 100, 2.0),
        ('paper_r50_8xb128_100e_in1k', 100, 2.0),
        ('r50_8xb64_100e_in1k', 100, 1.0),
        ('table5/table5_r50_8xb128_30e_in1k', 30, 2.0),
        ('r50_32xb128_800e_in1k', 800, 4.8),
    ],
)
def test_mec_on_imagenet_follows_the_authors(name, epochs, lr, tmp_path):
    cfg = Config.fromfile(REPOSITORY / f'configs/mec/{name}.py')
    length = 3
    probe, record = followed(cfg, length, tmp_path, cfg.model.base_momentum, cfg.model.head.loss)
    # mmengine cannot begin at a learning rate of 0, which is the one difference.
    expected = cosine_scheduler(lr, 0, epochs, length, warmup_epochs=10)
    np.testing.assert_allclose(record.rates, expected, rtol=1e-9, atol=2e-12 * lr)
    assert record.rates[0] > expected[0] == 0
    expected = lamda_scheduler(8, 1, epochs, length, warmup_epochs=10)
    np.testing.assert_allclose(probe.scales, expected, rtol=1e-9)
    momenta = cosine_scheduler(0.996, 1, epochs, length)
    target = probe.targets[0]
    for it, momentum in enumerate(momenta[:-1]):
        target = momentum * target + (1 - momentum) * record.weights[it]
        torch.testing.assert_close(probe.targets[it + 1], target, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_the_learning_rate_of_minent_follows_the_authors(tmp_path):
    cfg = Config.fromfile(REPOSITORY / 'configs/minent/minent_r18_1xb128_500e_imagenet100.py')
    _, record = followed(cfg, 3, tmp_path)
    np.testing.assert_allclose(record.rates, min_ent_lr(500, 3), rtol=1e-9)


@pytest.mark.slow
def test_the_learning_rate_of_minent_by_sgd_follows_the_authors(tmp_path):
    """A cosine over all epochs, and a warm-up of 500 iterations.

    The authors' cosine begins after the warm-up, with the value that it has there, and is one
    iteration later. They have 300,000 iterations or more, in which both hardly matter.
    """
    cfg = Config.fromfile(REPOSITORY / 'configs/minent/minent_sgd_r18_1xb128_500e_imagenet100.py')
    _, record = followed(cfg, 3, tmp_path)
    steps = np.arange(1500)

    def cosine(steps):
        return 0.01 * (1 + np.cos(np.pi * steps / 1500)) / 2

    warmup = np.minimum(1, (steps + 1) / 500)
    np.testing.assert_allclose(record.rates, warmup * cosine(steps), rtol=1e-6)
    # MinEnt/runner.py#L75-L76 of the authors, where T_0 are all epochs.
    late = np.abs(np.array(record.rates) - cosine(steps - 1))[500:]
    assert late.max() < 0.01 * np.pi / 2 / 1500 * 1.01


class WithPredictor(BaseModel):
    """Two linear layers, of which one is the predictor of a SimSiam."""

    def __init__(self):
        super().__init__()
        self.backbone, self.predictor = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs, mode):
        return dict(loss=self.predictor(self.backbone(inputs)).sin().mean())


class RecordBoth(Hook):
    """The learning rates of the backbone and of the predictor before each step."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, *args, **kwargs):
        groups = runner.optim_wrapper.param_groups
        fixed = [group['lr'] for group in groups if group.get('fix_lr')]
        moving = [group['lr'] for group in groups if not group.get('fix_lr')]
        self.rates.append((moving[0], fixed[0]))
        assert len(set(fixed)) == len(set(moving)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'baselines/simsiam_r18s_1xb64_50e_digits',
        'baselines/simsiam_r18s_1xb128_6e_fashion_mnist',
        'baselines/simsiam_r18_1xb512_200e_cifar10',
        'baselines/simsiam_fast_r18s_1xb256_10e_cifar10',
        'mec/mec_simsiam_r18_1xb512_200e_cifar10',
    ],
)
def test_the_predictor_of_simsiam_keeps_its_learning_rate(name, tmp_path):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(REPOSITORY / f'configs/{name}.py')
    record = RecordBoth()
    runner = Runner(
        model=WithPredictor(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.randn(2)) for _ in range(3)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
            batch_size=1,
        ),
        train_cfg=cfg.train_cfg,
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        default_hooks=dict(logger=None, checkpoint=None, timer=None),
        custom_hooks=[record, *(hook for hook in cfg.custom_hooks if hook.type == 'SimSiamHook')],
        default_scope='mmpretrain',
        experiment_name=tmp_path.name,
    )
    runner.train()
    moving, fixed = np.array(record.rates).T
    np.testing.assert_array_equal(fixed, cfg.optim_wrapper.optimizer.lr)
    assert moving[-1] < 0.02 * moving.max()
    assert moving.max() == pytest.approx(fixed[0])
