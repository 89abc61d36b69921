"""What a run wrote is read back, over all its starts."""
import json
import shutil
from pathlib import Path

import pytest
from mmengine.runner import Runner
from test_monitor import config, hook

from mmentropy.runlog import read_scalars


def write(work_dir, time, *lines, log=''):
    """A start that logged these lines, dicts or text."""
    folder = work_dir / time
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data' / 'scalars.json').write_text(''.join(
        line if isinstance(line, str) else json.dumps(line) + '\n'
        for line in lines))
    (folder / f'{time}.log').write_text(log)
    return folder


def loss(step):
    return dict(loss=1 / step, iter=step, step=step)


def knn(epoch):
    return {'knn/top1': 10. * epoch, 'step': epoch}


def alarm(step, text):
    return ('2026/11/22 13:20:30 - mmengine - WARNING - monitor at iteration '
            f'{step}: {text}\n')


def logged(folder):
    file = Path(folder, 'vis_data', 'scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_resumed_run(tmp_path):
    """Ended in its third epoch and resumed from its second."""
    cfg = config(
        tmp_path, 'simsiam', 'run', hook(interval=1, images=8),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=2),
            logger=dict(type='LoggerHook', interval=1)),
        train_cfg=dict(by_epoch=True, max_epochs=3))
    runner = Runner.from_cfg(cfg)
    runner.train()
    first = Path(runner.log_dir).rename(tmp_path / 'run' / '20000101_000000')
    old = logged(first)
    # As if it had been killed while it wrote a line.
    with (first / 'vis_data' / 'scalars.json').open('a') as stream:
        stream.write('{"loss": 0.1, "st')
    cfg.merge_from_dict(
        dict(
            resume=True,
            load_from=str(tmp_path / 'run' / 'epoch_2.pth'),
            experiment_name=f'again_{tmp_path.name}',
            train_cfg=dict(max_epochs=4)))
    runner = Runner.from_cfg(cfg)
    runner.train()

    new = logged(runner.log_dir)
    log = read_scalars(tmp_path / 'run')
    assert log.torn == 1 and log.folder == Path(runner.log_dir)
    assert old[-1]['step'] == 6 and new[0]['step'] == 5
    assert log.lines == [line for line in old if line['step'] < 5] + new
    for key in ('loss', 'monitor/backbone/rankme'):
        assert log.curve(key)[0] == list(range(1, 9))


def test_later_starts_replace_the_steps_that_they_did_again(tmp_path):
    write(tmp_path, 'c', loss(50), knn(5), loss(60), knn(6))
    write(tmp_path, 'a', loss(10), knn(1), loss(20), knn(2), loss(30), knn(3))
    write(tmp_path, 'b', loss(30), knn(3), loss(40), knn(4), loss(50))
    # Killed before it logged.
    write(tmp_path, 'd')
    log = read_scalars(tmp_path)
    assert log.curve('loss') == ([10, 20, 30, 40, 50, 60],
                                 [1 / step for step in range(10, 70, 10)])
    assert log.reached == [10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 60, 60]
    # Logged in epochs, without a step of epoch 4 and 5 left from before.
    assert log.curve('knn/top1')[0] == [1, 2, 3, 4, 5, 6]
    assert log.lines[2]['step'] == 20 and log.folder == tmp_path / 'c'
    assert log.curve('lidar') == ([], [])

    # What the last start did not reach again is no longer this run's.
    write(tmp_path, 'e', loss(20))
    log = read_scalars(tmp_path)
    assert log.curve('loss')[0] == [10, 20]
    assert log.curve('knn/top1')[0] == [1]


def test_epochs_are_not_taken_for_iterations(tmp_path):
    write(tmp_path, 'a', loss(2), knn(1), loss(4), knn(2), loss(6), knn(3))
    write(tmp_path, 'b', loss(6))
    # knn of epoch 3 was after iteration 6, although 3 < 6.
    assert read_scalars(tmp_path).curve('knn/top1')[0] == [1, 2]


def test_alarms(tmp_path):
    write(tmp_path, 'a', loss(10), loss(30), log=alarm(10, 'falling') +
          alarm(30, 'dead') + 'x - INFO - monitor at iteration 5: RankMe\n')
    write(tmp_path, 'b', loss(20), log=alarm(20, 'total: collapse'))
    assert read_scalars(tmp_path).alarms == [(10, 'falling'),
                                             (20, 'total: collapse')]
    shutil.rmtree(tmp_path / 'b')
    (tmp_path / 'a' / 'a.log').unlink()
    assert read_scalars(tmp_path).alarms == []


@pytest.mark.parametrize('lines, message', [
    (None, 'holds no run'),
    ([], 'holds an empty run'),
    (['{"st'], 'holds an empty run'),
    (['{"st\n', loss(1)], 'scalars.json is damaged: line 1 is no scalars'),
    ([loss(1), '{"loss": 1}\n', loss(2)], 'line 2 is no scalars'),
    ([loss(1), '[1]\n', loss(2)], 'line 2 is no scalars'),
])
def test_foreign_folders(tmp_path, lines, message):
    if lines is not None:
        write(tmp_path, 'a', *lines)
    with pytest.raises(ValueError, match=message) as error:
        read_scalars(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert '\n' not in str(error.value)
