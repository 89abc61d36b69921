"""Clusters between epochs: drawn alike, assigned anew, and the same after a resumption."""

import copy
import re
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import sklearn.cluster
import torch
from mmengine.config import Config
from networks import BACKBONE, NECK
from ranks import on_ranks
from safe_runs import log_of, resumed, same, train, weights

from mmentropy.engine.hooks import cluster_labels
from mmentropy.engine.hooks.cluster_labels import STATE, ClusterHook, ClusterSampler

IMAGES = 40
PACK = dict(type='PackInputs')
VIEW = [dict(type='RandomFlip', prob=0.5), dict(type='Resize', scale=16)]


def digits(*pipeline):
    return dict(type='Digits', split='train', indices=IMAGES, pipeline=[*pipeline, PACK])


def config(folder, epochs=3, interval=2, hooks=()):
    """Five iterations an epoch; clusters before epochs 1 and 3."""
    return Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(folder),
            experiment_name=f'{folder.parent.name}_{folder.name}_{time.monotonic_ns()}',
            randomness=dict(seed=1),
            model=dict(
                type='DeepCluster',
                backbone=dict(BACKBONE, in_channels=1),
                neck=NECK,
                head=dict(type='ClusterHead', in_channels=16, num_clusters=4),
            ),
            data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[77.8], std=[95.7]),
            train_dataloader=dict(
                batch_size=8,
                num_workers=0,
                sampler=dict(type='ClusterSampler'),
                collate_fn=dict(type='default_collate'),
                dataset=digits(dict(type='MultiView', num_views=[2], transforms=[VIEW])),
            ),
            eval_datasets=dict(
                train=digits(dict(type='Resize', scale=16)),
                test=digits(dict(type='Resize', scale=16)),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
            default_hooks=dict(
                checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=-1),
                draws=dict(type='ExactResumeHook'),
                signals=dict(type='SignalHook', interval=1),
            ),
            custom_hooks=[dict(type='ClusterHook', interval=interval, components=8), *hooks],
        )
    )


def test_all_clusters_are_drawn_alike():
    rows = list(range(1000))
    sampler = ClusterSampler(rows, seed=3)
    assert len(set(sampler)) == 1000
    sampler.labels = torch.tensor([0] * 900 + [2] * 90 + [3] * 10)
    counts = torch.bincount(sampler.labels[list(sampler)])
    assert counts.sum() == 1000
    assert [int(c) for c in counts if c] == pytest.approx([333, 333, 333], abs=60)
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    # Ranks share what one process would draw.
    whole = list(sampler)
    sampler.rank, sampler.world_size = 1, 2
    assert list(sampler) == whole[1::2]


@pytest.mark.slow
@pytest.mark.parametrize('at', [5, 8, 10, 13])
def test_resumed_run_ends_as_the_unbroken_one(at, tmp_path):
    """After an epoch and within one, where clusters are due next and where they are not."""
    whole = train(config(tmp_path / 'whole'))
    with pytest.raises(SystemExit):
        train(config(tmp_path / 'run', hooks=[dict(type='Disturb', action='warn', at=at)]))
    file = tmp_path / f'run/interrupted_{at}.pth'
    if not file.exists():
        file = tmp_path / f'run/epoch_{at // 5}.pth'
    again = resumed(config(tmp_path / 'again'), file)
    same(weights(again), weights(whole))
    assert torch.equal(again.message_hub.get_info(STATE), whole.message_hub.get_info(STATE))


@pytest.mark.slow
def test_assignment(tmp_path):
    """Labels, classifier, momentum, sampler and log, before the first epoch and the third."""
    runner = train(config(tmp_path / 'run', epochs=2))
    model, hub = runner.model, runner.message_hub
    labels = hub.get_info(STATE)
    assert torch.equal(model.labels, labels) and len(labels) == IMAGES
    assert torch.equal(runner.train_dataloader.sampler.labels, labels)
    found = re.findall(r'clusters before epoch (\d): (\d) of (\d+) to (\d+) images', log_of(runner))
    assert found == [('1', '4', *map(str, aminmax(labels)))]

    hook = next(h for h in runner.hooks if isinstance(h, ClusterHook))
    state, old = runner.optim_wrapper.optimizer.state, copy.deepcopy(weights(runner))
    assert set(model.head.parameters()) <= state.keys()
    hook.before_train_epoch(runner)
    assert not set(model.head.parameters()) & state.keys()
    assert set(model.neck.parameters()) <= state.keys()
    assert float(model.head.prototypes.weight.detach().std()) == pytest.approx(0.01, rel=0.3)
    for key, value in weights(runner).items():
        assert key.startswith('head') or torch.equal(value, old[key]), key
    assert not torch.equal(hub.get_info(STATE), labels)
    assert re.search(r'clusters before epoch 3: .*, NMI with those before 0\.\d+', log_of(runner))


def aminmax(labels):
    return [int(x) for x in torch.bincount(labels).aminmax()]


GROUPS = torch.arange(60) % 2


def clusters_of_groups(width=2, **where):
    """The clusters of two groups that differ far less than images do within each."""
    features = torch.stack([0.1 * GROUPS, 10 * torch.linspace(-1, 1, 60)], dim=1)
    features = torch.cat([features, torch.randn(60, width - 2)], dim=1)
    hook = ClusterHook(components=2)
    hook.images = [
        dict(inputs=x, data_samples=SimpleNamespace(gt_label=torch.tensor([0]))) for x in features
    ]
    model = SimpleNamespace(
        backbone=torch.nn.Identity(),
        neck=torch.nn.Linear(width, width, bias=False),
        head=SimpleNamespace(prototypes=SimpleNamespace(out_features=2)),
        data_preprocessor=lambda data, training: data,
    )
    torch.nn.init.eye_(model.neck.weight)
    return hook._clusters(SimpleNamespace(**dict(seed=0, epoch=0) | where), model)


def test_clusters_are_those_of_whitened_features():
    labels = clusters_of_groups()
    assert torch.equal(labels, GROUPS) or torch.equal(labels, 1 - GROUPS)


def test_clustered_are_directions_of_few_components_by_a_seed_of_the_epoch(monkeypatch):
    seen = []

    class Recorder(sklearn.cluster.KMeans):
        def fit_predict(self, rows):
            seen.append((rows, self.random_state))
            return super().fit_predict(rows)

    monkeypatch.setattr(sklearn.cluster, 'KMeans', Recorder)
    clusters_of_groups(width=4, seed=3, epoch=5)
    ((rows, seed),) = seen
    assert rows.shape == (60, 2) and seed == 8
    assert (rows**2).sum(1) == pytest.approx(1)


def clusters_of_rank(rank, world):
    return clusters_of_groups()


@pytest.mark.slow
def test_ranks_have_the_same_clusters(tmp_path):
    first, second = on_ranks(clusters_of_rank, 2, tmp_path)
    assert torch.equal(first, second) and set(first.tolist()) == {0, 1}


class Slow(sklearn.cluster.KMeans):
    def fit_predict(self, rows):
        time.sleep(4)
        return super().fit_predict(rows)


def impatient(rank, world):
    """The error of a rank where clustering takes longer than its patience, if there is one."""
    # This imports scikit-learn, so that ranks wait for nothing else below.
    clusters_of_groups()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.cluster, 'KMeans', Slow)
        patch.setattr(cluster_labels, 'PATIENCE', timedelta(seconds=2))
        try:
            clusters_of_groups()
        except RuntimeError as error:
            return str(error)
    return 'waited'


@pytest.mark.slow
def test_ranks_wait_for_the_clusters_as_long_as_is_said(tmp_path):
    """The patience is that of the hook, and not of other communication."""
    assert 'imed out' in on_ranks(impatient, 2, tmp_path)[1]


def test_wrong_settings():
    for arguments, words in ((dict(interval=0), 'interval'), (dict(components=1), 'components')):
        with pytest.raises(ValueError, match=f'{words} must be'):
            ClusterHook(**arguments)


@pytest.mark.slow
def test_another_algorithm_or_other_images(tmp_path):
    cfg = config(tmp_path / 'images')
    cfg.eval_datasets.train.indices = 30
    with pytest.raises(ValueError, match='eval_datasets.train has 30 images, training 40'):
        train(cfg)
    cfg = config(tmp_path / 'algorithm')
    cfg.model = dict(
        type='SimCLR',
        backbone=cfg.model.backbone,
        neck=NECK,
        head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss')),
    )
    with pytest.raises(ValueError, match='DeepCluster'):
        train(cfg)
