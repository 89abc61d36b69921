"""The best checkpoint is that of the best measurement, and stays."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS
from monitored import Stripes, config, hook, logged
from ranks import on_ranks

from mmentropy.distributed import unwrapped
from mmentropy.engine import best_checkpoint
from mmentropy.engine.best_checkpoint import check_save_best, save_best
from mmentropy.weights.reader import read_checkpoint

PACK = dict(type='PackInputs')


@HOOKS.register_module()
class Scores(Hook):
    """Hands over given scores; keeps what the network was at each."""

    def __init__(self, scores, by_epoch=False, broken_at=None):
        self.scores, self.by_epoch = scores, by_epoch
        self.broken_at = broken_at
        self.weights = {}

    def scalar_names(self, runner):
        return ['score/up', 'score/down']

    def before_train(self, runner):
        check_save_best(runner)

    def after_train_iter(self, runner, *args, **kwargs):
        if not self.by_epoch:
            self.hand_over(runner, runner.iter + 1)

    def after_train_epoch(self, runner):
        if self.by_epoch:
            self.hand_over(runner, runner.epoch + 1)

    def hand_over(self, runner, step):
        state = unwrapped(runner.model).state_dict()
        self.weights[step] = {k: v.clone() for k, v in state.items()}
        if step == self.broken_at:
            runner.save_checkpoint = fail
        up = self.scores[step - 1]
        save_best(runner, {'score/up': up, 'score/down': -up}, self.by_epoch)


@DATASETS.register_module()
class Labelled(Stripes):
    """Bright or dark."""

    def load_data_list(self):
        return [
            dict(info, gt_label=int(info['img'].mean() > 150)) for info in super().load_data_list()
        ]


def fail(*args, **kwargs):
    raise OSError('disk full')


def settings(work_dir, run, *hooks, best='score/up', rule='greater', checkpoint={}, **kwargs):
    """Three epochs of two iterations."""
    return config(
        work_dir,
        'simsiam',
        run,
        *hooks,
        **{
            **dict(
                log_level='INFO',
                train_cfg=dict(by_epoch=True, max_epochs=3),
                default_hooks=dict(
                    checkpoint=dict(
                        **{
                            **dict(type='CheckpointHook', interval=1, save_best=best, rule=rule),
                            **checkpoint,
                        }
                    )
                ),
            ),
            **kwargs,
        },
    )


def train(*args, **kwargs):
    runner = Runner.from_cfg(settings(*args, **kwargs))
    runner.train()
    return runner


def scores(*values, **kwargs):
    return dict(type='Scores', scores=list(values), **kwargs)


def the_hook(runner):
    return next(h for h in runner.hooks if isinstance(h, Scores))


def best_files(runner):
    return sorted(p.name for p in Path(runner.work_dir).glob('best_*'))


def log_of(runner):
    return next(Path(runner.log_dir).glob('*.log')).read_text()


def same_weights(path, weights):
    found = read_checkpoint(path)['state_dict']
    assert found.keys() == weights.keys()
    return all(torch.equal(found[key], weights[key]) for key in found)


def info(runner, key):
    return runner.message_hub.get_info(key)


@pytest.mark.slow
def test_by_iteration_inside_epochs(tmp_path):
    runner = train(tmp_path, 'run', scores(1.0, 5.0, 2.0, 7.0, 3.0, 7.0))
    work_dir = Path(runner.work_dir)
    assert best_files(runner) == ['best_score_up_iter_4.pth']
    path = work_dir / 'best_score_up_iter_4.pth'
    weights = the_hook(runner).weights
    assert same_weights(path, weights[4])
    saved = read_checkpoint(path)
    assert (saved['meta']['epoch'], saved['meta']['iter']) == (1, 4)
    assert 'optimizer' not in saved
    assert info(runner, 'best_score') == 7.0 == saved['message_hub']['runtime_info']['best_score']
    assert info(runner, 'best_ckpt') == str(path)
    text = log_of(runner)
    for step, score in ((1, 1), (2, 5), (4, 7)):
        assert (
            f'The best checkpoint with {score}.0000 score/up at {step} '
            f'iter is saved to best_score_up_iter_{step}.pth.'
        ) in text
    assert text.count('The best checkpoint') == 3
    # Those of mmengine are what they would be without.
    for epoch in (1, 2, 3):
        path = work_dir / f'epoch_{epoch}.pth'
        assert same_weights(path, weights[2 * epoch])
        found = read_checkpoint(path)
        assert (found['meta']['epoch'], found['meta']['iter']) == (epoch, 2 * epoch)
        # It is written after the best one of the same iteration.
        assert found['message_hub']['runtime_info']['best_score'] == (5.0 if epoch == 1 else 7.0)


@pytest.mark.slow
def test_by_epoch(tmp_path):
    runner = train(
        tmp_path,
        'run',
        scores(5.0, 7.0, 6.0, by_epoch=True),
        checkpoint=dict(published_keys=['state_dict']),
    )
    path = Path(runner.work_dir, 'best_score_up_epoch_2.pth')
    assert same_weights(path, the_hook(runner).weights[2])
    meta = read_checkpoint(path)['meta']
    assert (meta['epoch'], meta['iter']) == (2, 4)
    # mmengine publishes it: once more without meta.
    (published,) = (name for name in best_files(runner) if name != path.name)
    assert published.startswith('best_score_up_epoch_2-')
    assert 'at 2 epoch is saved' in log_of(runner)


@pytest.mark.slow
def test_iterations_without_epochs(tmp_path):
    runner = train(
        tmp_path,
        'run',
        scores(9.0, 1.0, 2.0, 10.0),
        train_cfg=dict(by_epoch=False, max_iters=4),
        checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=1),
    )
    assert best_files(runner) == ['best_score_up_iter_4.pth']
    assert [p.name for p in Path(runner.work_dir).glob('iter_*.pth')] == ['iter_4.pth']
    assert same_weights(Path(runner.work_dir, 'iter_4.pth'), the_hook(runner).weights[4])


@pytest.mark.slow
def test_several_keys_and_rules(tmp_path):
    runner = train(
        tmp_path,
        'run',
        scores(2.0, 9.0, 1.0, 4.0, 5.0, 6.0),
        best=['score/up', 'score/down'],
        rule=['greater', 'greater'],
    )
    assert best_files(runner) == ['best_score_down_iter_3.pth', 'best_score_up_iter_2.pth']
    assert info(runner, 'best_score_score/down') == -1.0
    assert info(runner, 'best_ckpt_score/up').endswith('up_iter_2.pth')
    # What mmengine publishes.
    saver = next(h for h in runner.hooks if isinstance(h, CheckpointHook))
    assert [Path(path).name for path in saver.best_ckpt_path_dict.values()] == [
        'best_score_up_iter_2.pth',
        'best_score_down_iter_3.pth',
    ]
    runner = train(
        tmp_path,
        'less',
        scores(2.0, 9.0, 1.0, 4.0, 5.0, 6.0),
        best=['score/up', 'score/down'],
        rule='less',
    )
    assert best_files(runner) == ['best_score_down_iter_2.pth', 'best_score_up_iter_3.pth']


@pytest.mark.slow
@pytest.mark.parametrize(
    'best, suffix',
    [
        ('score/up', ''),
        (['score/up', 'score/down'], '_score/up'),
    ],
)
def test_resumed(tmp_path, best, suffix):
    """From a checkpoint before the best one, which is not forgotten."""
    kwargs = dict(best=best, resume=True)
    runner = train(tmp_path, 'run', scores(2.0, 1.0, 8.0, 3.0, 3.0, 3.0), best=best)
    start = str(Path(runner.work_dir, 'epoch_1.pth'))
    first = [name for name in best_files(runner) if 'up' in name]
    assert first == ['best_score_up_iter_3.pth']
    old = the_hook(runner).weights[3]

    runner = train(
        tmp_path,
        'run',
        scores(0.0, 0.0, 5.0, 6.0, 7.0, 5.0),
        load_from=start,
        experiment_name='b',
        **kwargs,
    )
    assert [name for name in best_files(runner) if 'up' in name] == first
    assert same_weights(Path(runner.work_dir, first[0]), old)
    assert info(runner, f'best_score{suffix}') == 8.0
    assert info(runner, f'best_ckpt{suffix}').endswith(first[0])

    # At the same iteration, under the same name.
    runner = train(
        tmp_path,
        'run',
        scores(0.0, 0.0, 9.0, 8.0, 7.0, 5.0),
        load_from=start,
        experiment_name='c',
        **kwargs,
    )
    assert [name for name in best_files(runner) if 'up' in name] == first
    assert same_weights(Path(runner.work_dir, first[0]), the_hook(runner).weights[3])
    assert info(runner, f'best_score{suffix}') == 9.0
    # From the end, where the message hub knows of it.
    runner = train(
        tmp_path,
        'run',
        scores(*[8.0] * 8),
        experiment_name='d',
        train_cfg=dict(by_epoch=True, max_epochs=4),
        **kwargs,
    )
    assert [name for name in best_files(runner) if 'up' in name] == first
    assert runner.iter == 8


@pytest.mark.slow
def test_a_damaged_file_is_not_taken_for_the_best(tmp_path):
    runner = train(tmp_path, 'run', scores(2.0, 1.0, 3.0, 3.0, 3.0, 3.0))
    start = str(Path(runner.work_dir, 'epoch_1.pth'))
    Path(runner.work_dir, 'best_score_up_iter_3.pth').write_bytes(b'PK')
    runner = train(
        tmp_path,
        'run',
        scores(0.0, 0.0, 0.5, 0.7, 0.6, 0.5),
        load_from=start,
        resume=True,
        experiment_name='b',
    )
    assert info(runner, 'best_score') == 0.7
    assert 'best_score_up_iter_4.pth' in best_files(runner)


@pytest.mark.slow
def test_started_anew(tmp_path):
    """What another run left is neither taken for its own nor removed."""
    train(tmp_path, 'run', scores(1.0, 9.0, 1.0, 1.0, 1.0, 1.0))
    runner = train(tmp_path, 'run', scores(1.0, 1.0, 2.0, 1.0, 1.0, 1.0), experiment_name='b')
    assert info(runner, 'best_score') == 2.0
    assert best_files(runner) == ['best_score_up_iter_2.pth', 'best_score_up_iter_3.pth']


@pytest.mark.slow
def test_resumed_in_another_folder(tmp_path):
    first = train(tmp_path, 'a', scores(1.0, 4.0, 1.0, 1.0, 1.0, 1.0))
    start = str(Path(first.work_dir, 'epoch_2.pth'))
    runner = train(tmp_path, 'b', scores(0, 0, 0, 0, 3.0, 5.0), resume=True, load_from=start)
    assert best_files(first) == ['best_score_up_iter_2.pth']
    assert best_files(runner) == ['best_score_up_iter_6.pth']


def test_the_last_good_one_outlives_a_full_disk(tmp_path):
    cfg = settings(tmp_path, 'run', scores(1.0, 2.0, 3.0, broken_at=3))
    runner = Runner.from_cfg(cfg)
    with pytest.raises(OSError, match='disk full'):
        runner.train()
    assert best_files(runner) == ['best_score_up_iter_2.pth']
    assert same_weights(
        Path(runner.work_dir, 'best_score_up_iter_2.pth'), the_hook(runner).weights[2]
    )


@pytest.mark.slow
def test_numbers_that_are_not_finite(tmp_path):
    inf, nan = float('inf'), float('nan')
    runner = train(tmp_path, 'run', scores(nan, inf, 2.0, nan, inf, 1.0))
    assert best_files(runner) == ['best_score_up_iter_3.pth']
    assert log_of(runner).count('score/up at 5 iter is not finite') == 1


def test_without_save_best_nothing_is_kept(tmp_path):
    runner = train(tmp_path, 'run', scores(*[1.0] * 6), best=None, rule=None)
    assert best_files(runner) == []
    assert 'not finite' not in log_of(runner)


VAL = dict(
    val_dataloader=dict(
        batch_size=2,
        dataset=dict(type='Stripes', size=2, pipeline=[]),
        sampler=dict(type='DefaultSampler', shuffle=False),
    ),
    val_evaluator=dict(type='Accuracy'),
    val_cfg=dict(),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    'hooks, best, kwargs, message',
    [
        (
            [scores()],
            'score/upp',
            {},
            "^save_best='score/upp' is measured by no hook: choose from score/up, score/down$",
        ),
        ([scores()], 'auto', {}, "save_best='auto' is measured by no hook"),
        ([scores()], 'score/up', VAL, 'not measured by validation'),
        ([], 'score/up', {}, "add custom_hooks=\\[dict\\(type='EntropyMonitor"),
    ],
)
def test_wrong_keys(tmp_path, hooks, best, kwargs, message):
    runner = Runner.from_cfg(settings(tmp_path, 'run', *hooks, best=best, **kwargs))
    with pytest.raises(ValueError, match=message):
        check_save_best(runner)


def test_a_sharded_network_is_refused(tmp_path, monkeypatch):
    """Its ranks save together. Any network stands for a sharded one here."""
    monkeypatch.setattr(best_checkpoint, 'FSDPModule', torch.nn.Module)
    runner = Runner.from_cfg(settings(tmp_path, 'run', scores(), best='score/up'))
    with pytest.raises(ValueError, match='a ShardedRunner saves by all: leave save_best out'):
        check_save_best(runner)


def test_validation_is_left_to_mmengine(tmp_path):
    runner = Runner.from_cfg(settings(tmp_path, 'run', scores(), best='accuracy/top1', **VAL))
    check_save_best(runner)


def two_ranks(rank, world, folder, kind):
    os.environ['LOCAL_RANK'] = str(rank)
    # Only the first rank measures.
    values = [1.0, 4.0, 2.0] if rank == 0 else [1.0, 4.0, 5.0]
    cfg = settings(
        folder,
        'run',
        scores(*values),
        launcher='pytorch',
        model_wrapper_cfg=dict(
            type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None
        ),
    )
    cfg.default_hooks.checkpoint.type = kind
    runner = Runner.from_cfg(cfg)
    runner.train()
    # Three iterations of both ranks' batches.
    assert runner.iter == 3
    return best_files(runner), the_hook(runner).weights[2]


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['CheckpointHook', 'SafeCheckpointHook'])
def test_two_ranks(kind, tmp_path):
    (tmp_path / 'ranks').mkdir()
    results = on_ranks(partial(two_ranks, folder=tmp_path, kind=kind), 2, tmp_path / 'ranks')
    assert results[0][0] == ['best_score_up_iter_2.pth']
    assert same_weights(tmp_path / 'run' / results[0][0][0], results[0][1])


# -- What the package measures -----------------------------------------------


@pytest.mark.slow
def test_monitor_and_knn(tmp_path):
    """Both keep their best, of what they logged."""
    best = ['monitor/backbone/rankme', 'monitor/projector/er_bound', 'knn/top1']
    labelled = dict(type='Labelled', size=20, pipeline=[PACK])
    runner = train(
        tmp_path,
        'run',
        hook(interval=1),
        dict(type='KNNHook', train=labelled, test=dict(labelled, first=100), k=5, interval=1),
        best=best,
        rule='greater',
    )
    found = logged(runner)
    for key in best[:2]:
        step = max(found, key=lambda step: found[step][key])
        name = f'best_{key}_iter_{step}.pth'.replace('/', '_')
        assert name in best_files(runner)
        assert info(runner, f'best_score_{key}') == found[step][key]
    (file,) = Path(runner.log_dir, 'vis_data').glob('scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    top1 = {x['step']: x['knn/top1'] for x in lines if 'knn/top1' in x}
    assert f'best_knn_top1_epoch_{max(top1, key=top1.get)}.pth' in (best_files(runner))
    assert len(top1) == len(best_files(runner)) == 3
    assert 'was not measured' not in log_of(runner)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, key',
    [
        ('simsiam', 'monitor/backbone/rank'),
        ('simsiam', 'knn/top1'),
        ('er_simclr', 'monitor_train/backbone/rankme'),
    ],
)
def test_monitor_refuses(tmp_path, name, key):
    cfg = settings(tmp_path, 'run', hook(), best=key)
    with pytest.raises(ValueError, match=f'{key}.*monitor/backbone/rankme, '):
        Runner.from_cfg(cfg).train()
    assert not list(Path(cfg.work_dir).glob('*.pth'))
