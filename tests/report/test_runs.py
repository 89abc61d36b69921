"""A work directory is read as its starts wrote it, damaged or foreign as it may be."""

import json
import os
from pathlib import Path

import pytest
from logged_runs import PER_EPOCH, loss, start
from messages import one_line
from mmengine.config import Config
from mmengine.runner import Runner
from monitored import config, hook

from mmentropy.report.config_differences import CONFIGS, base_differences, differences
from mmentropy.report.overview import length
from mmentropy.report.runs import read_runs

LOADED = 'Load checkpoint from /runs/a b/epoch_2.pth'


def test_later_start_replaces_overlap(tmp_path):
    start(tmp_path, '20261122_142736', 10, 100, tag=5.0, alarms={60: 'early', 100: 'lost'})
    # It went on from iteration 80, and logs 90 first: of the first start 90
    # and 100 are gone, and of kNN nothing, of the monitor 100.
    start(tmp_path, '20261122_152736', 90, 120, resumed=80, alarms={110: 'late'})
    (run,) = read_runs([tmp_path])
    steps, values = run.curves['loss']
    assert steps == [*range(10, 121, 10)]
    assert values == [loss(s) + 5.0 * (s <= 80) for s in steps]
    assert run.curves['monitor/backbone/rankme'] == (
        [20, 40, 60, 80, 100, 120],
        [45.0] * 4 + [40.0] * 2,
    )
    assert run.curves['knn/top1'] == ([40, 80, 120], [59.0, 63.0, 62.0])
    assert [step for step, _ in run.spectra['backbone']] == [20, 40, 60, 80, 100, 120]
    assert run.alarms == [(60, 'early'), (110, 'late')]
    assert run.seconds == 2 * 180
    assert run.starts == 2


def test_what_is_lost_between_lines_is_gone(tmp_path):
    start(tmp_path, '20261122_142736', 10, 80, tag=5.0)
    start(tmp_path, '20261122_152736', 95, 120, resumed=75)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [10, 20, 30, 40, 50, 60, 70, 95, 105, 115]


def test_new_start_replaces_all(tmp_path):
    start(tmp_path, '20261122_142736', 10, 100)
    start(tmp_path, '20261122_152736', 30, 60)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [30, 40, 50, 60]


def test_starts_in_any_order(tmp_path):
    start(tmp_path, '20261122_162736', 90, 120, resumed=80)
    start(tmp_path, '20261122_142736', 10, 100, tag=5.0)
    start(tmp_path, '20261122_152736', 70, 100, resumed=60, tag=3.0)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'] == (
        [*range(10, 121, 10)],
        [loss(s) + (5.0 if s <= 60 else 3.0 * (s <= 80)) for s in range(10, 121, 10)],
    )
    # It did not reach again what was logged: of kNN, epoch 2, which is
    # iteration 40, and what came after.
    start(tmp_path, '20261122_172736', 30, 30, resumed=20)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [10, 20, 30]
    assert 'knn/top1' not in run.curves
    assert run.points('knn/top1') == []


def test_a_clock_that_jumped_back(tmp_path):
    """A start goes on from what another one has saved, whatever its name says of the time."""
    first = start(tmp_path, '20261122_142736', 10, 80, tag=5.0) / '20261122_142736'
    later = start(tmp_path, '20261121_142736', 50, 120, resumed=40) / '20261121_142736'
    for folder, line in ((first, 'Saving checkpoint at 2 epochs'), (later, LOADED)):
        with (folder / f'{folder.name}.log').open('a') as log:
            log.write(f'2026/11/22 14:40:00 - mmengine - INFO - {line}\n')
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [*range(10, 121, 10)]
    assert run.curves['loss'][1] == [loss(s) + 5.0 * (s <= 40) for s in range(10, 121, 10)]


def test_log_without_info(tmp_path):
    """log_level='WARNING': the first line is where it went on."""
    start(tmp_path, '20261122_142736', 10, 100, tag=5.0, alarms={60: 'early'})
    start(tmp_path, '20261122_152736', 90, 120, resumed=80, alarms={110: 'late'})
    for log in tmp_path.glob('*/*.log'):
        log.write_text(''.join(line for line in log.open() if 'WARNING' in line))
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'] == (
        [*range(10, 121, 10)],
        [loss(s) + 5.0 * (s <= 80) for s in range(10, 121, 10)],
    )
    assert run.alarms == [(60, 'early'), (110, 'late')]
    assert run.per_epoch == PER_EPOCH


def test_start_that_logged_nothing_replaces_nothing(tmp_path):
    start(tmp_path, '20261122_142736', 10, 100)
    start(tmp_path, '20261122_152736', 10, 0)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [*range(10, 101, 10)]


@pytest.mark.parametrize(
    'line',
    [
        dict(iter=20, spectrum=[1]),
        dict(iter=20, width=3),
        dict(alarms=['x']),
        dict(iter=20, alarms=5),
    ],
)
def test_odd_logs_are_refused_in_one_line(line, tmp_path):
    start(tmp_path, '20261122_142736', 10, 30)
    with next(tmp_path.glob('*/vis_data/monitor.jsonl')).open('a') as log:
        log.write(json.dumps(line) + '\n')
    with pytest.raises(ValueError, match='vis_data is not what mmengine and Entropy') as error:
        read_runs([tmp_path])
    one_line(error)


def test_what_is_no_file_is_not_read(tmp_path):
    """Reading a pipe would wait for ever, and json would recurse too deeply."""
    start(tmp_path, '20261122_142736', 10, 30)
    config = next(tmp_path.glob('*/vis_data/config.py'))
    config.unlink()
    os.mkfifo(config)
    with next(tmp_path.glob('*/vis_data/scalars.json')).open('a') as log:
        log.write('[' * 100_000 + '\n')
    (run,) = read_runs([tmp_path])
    assert run.config is None
    pipe, damaged = run.notes
    assert 'is a pipe' in pipe and '1 damaged line' in damaged
    os.truncate(next(tmp_path.glob('*/*.log')), 2_000_000_000)
    with pytest.raises(OSError, match='more than the 500,000,000 that are read'):
        read_runs([tmp_path])


def test_what_was_saved_tells_how_far_it_came(tmp_path):
    """The end of an epoch that is shorter than the logger's interval."""
    start(tmp_path, '20261122_142736', 10, 110)
    (run,) = read_runs([tmp_path])
    assert length(run) == '5.5 of 6 epochs'
    (tmp_path / 'epoch_6.pth').touch()
    assert length(run) == '6 epochs'


@pytest.mark.parametrize('kind', ['KNNHook', 'mmpretrain.KNNHook'])
def test_knn_counts_iterations_where_its_hook_does(kind, tmp_path):
    start(tmp_path, '20261122_142736', 10, 120)
    with next(tmp_path.glob('*/vis_data/config.py')).open('a') as cfg:
        cfg.write(f'custom_hooks = [dict(type={kind!r}, by_epoch=False)]\n')
    (run,) = read_runs([tmp_path])
    assert run.curves['knn/top1'][0] == [2, 4, 6]


def test_differences_of_configs():
    one = Config(
        dict(
            lr=0.1,
            steps=(1, 2),
            pipe=[dict(type='A', p=1)],
            hooks=[dict(type='K')],
            work_dir='x',
            only=dict(a=1),
        )
    )
    two = Config(
        dict(
            lr=0.2,
            steps=[1, 2],
            pipe=[dict(type='A', p=2)],
            hooks=[dict(type='K'), dict(type='M')],
            work_dir='y',
        )
    )
    assert differences([one, two]) == {
        'lr': ['0.1', '0.2'],
        'pipe.0.p': ['1', '2'],
        'hooks': ["[{'type': 'K'}]", "[{'type': 'K'}, {'type': 'M'}]"],
        'only': ["{'a': 1}", ''],
    }


@pytest.mark.slow
def test_base_is_the_config_of_that_name(tmp_path):
    name = 'minent_r18s_1xb64_50e_digits.py'
    start(tmp_path, '20261122_142736', 10, 20)
    cfg = Config.fromfile(CONFIGS / 'minent' / name)
    cfg.optim_wrapper.optimizer.lr = 7.0
    cfg.work_dir = 'x'
    cfg.dump(tmp_path / name)
    cfg.dump(next(tmp_path.glob('*/vis_data')) / 'config.py')
    base, found = base_differences(read_runs([tmp_path])[0])
    assert base == f'configs/minent/{name}'
    assert [*found] == ['optim_wrapper.optimizer.lr']
    assert found['optim_wrapper.optimizer.lr'][1] == '7.0'


@pytest.mark.slow
def test_resumed_run(tmp_path):
    """Ended in its third epoch, resumed from its second, trained to four."""
    cfg = config(
        tmp_path,
        'simsiam',
        'run',
        hook(interval=1, images=8),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=2),
            logger=dict(type='LoggerHook', interval=1),
        ),
        log_level='INFO',
        train_cfg=dict(by_epoch=True, max_epochs=3),
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    old = Path(runner.log_dir)
    first = old.with_name('20000101_000000')
    old.rename(first)
    (first / f'{old.name}.log').rename(first / f'{first.name}.log')
    cfg.merge_from_dict(
        dict(
            resume=True,
            load_from=str(tmp_path / 'run' / 'epoch_2.pth'),
            experiment_name=f'again_{tmp_path.name}',
            train_cfg=dict(max_epochs=4),
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()

    def logged(folder):
        """The loss by iteration."""
        lines = map(json.loads, (folder / 'vis_data/scalars.json').open())
        return {line['step']: line['loss'] for line in lines if 'loss' in line}

    before, after = logged(first), logged(Path(runner.log_dir))
    assert [*before] == [1, 2, 3, 4, 5, 6] and [*after] == [5, 6, 7, 8]
    (run,) = read_runs([tmp_path / 'run'])
    assert dict(run.points('loss')) == before | after
    assert run.curves['monitor/backbone/rankme'][0] == [*range(1, 9)]
    assert [step for step, _ in run.spectra['backbone']] == [*range(1, 9)]
    assert (run.per_epoch, run.starts) == (2, 2)
    assert run.get('train_cfg', 'max_epochs') == 4
