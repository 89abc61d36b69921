"""Transforms with generators of their own draw what the seed of the image says."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpretrain.registry import DATASETS
from safe_runs import DrawnViews, config, same, train, weights

from mmentropy.engine.own_generators import seed_all, seeds_of


class Composed:
    """The interface of albumentations.Compose."""

    def __init__(self):
        self.inner = SimpleNamespace(random_generator=None, py_random=None)
        self.set_random_state(np.random.default_rng(), random.Random())

    def set_random_state(self, random_generator, py_random):
        self.inner.random_generator, self.inner.py_random = random_generator, py_random

    def draw(self):
        return self.inner.random_generator.random() + self.inner.py_random.random()


def torch_generator():
    generator = torch.Generator()
    generator.seed()
    return generator


KINDS = dict(
    composed=(Composed, Composed.draw),
    python=(random.Random, lambda g: g.random()),
    numpy=(np.random.default_rng, lambda g: g.random()),
    legacy=(np.random.RandomState, lambda g: g.rand()),
    torch=(torch_generator, lambda g: float(torch.rand(1, generator=g))),
)


@pytest.mark.parametrize('kind', KINDS)
def test_a_seed_decides_what_is_drawn(kind):
    make, draw = KINDS[kind]
    drawn = []
    for seed in (3, 3, 4):
        one, other = make(), make()
        step = SimpleNamespace(transforms=[dict(deep=(one,)), other])
        dataset = SimpleNamespace(pipeline=SimpleNamespace(transforms=[step]))
        wrapper = SimpleNamespace(datasets=[SimpleNamespace(dataset=dataset)])
        seeds = seeds_of(wrapper)
        assert len(seeds) == 2
        seed_all(seeds, seed)
        drawn.append((draw(one), draw(other)))
    assert drawn[0] == drawn[1] != drawn[2]
    # Two generators do not draw alike.
    assert drawn[0][0] != drawn[0][1]


@DATASETS.register_module()
class OwnDraws(DrawnViews):
    """Views under more noise, drawn from a generator of a transform."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pipeline = [Composed()]

    def __getitem__(self, index):
        item = super().__getitem__(index)
        item['inputs'] = [view + self.pipeline[0].draw() for view in item['inputs']]
        return item


@pytest.mark.slow
def test_runs_repeat_for_any_number_of_loader_processes(tmp_path):
    found = []
    for workers in (0, 0, 2):
        cfg = config(tmp_path / f'run_{len(found)}', epochs=1)
        cfg.train_dataloader.dataset.type = 'OwnDraws'
        cfg.train_dataloader.num_workers = workers
        found.append(weights(train(cfg)))
    same(found[0], found[1])
    same(found[0], found[2])
