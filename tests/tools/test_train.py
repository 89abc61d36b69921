"""The commands that users type, on Digits."""

import json
import os
import subprocess
import sys
import time

import evaluate
import pytest
import train as tool
from mmengine.config import Config
from repository import REPOSITORY
from safe_runs import config as small_run

from mmentropy.engine.train_loop import EpochTrainLoop

ROOT = REPOSITORY
ENV = dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1')
DIGITS = 'configs/mec/r18s_1xb64_50e_digits.py'

# Both runs must see the same pixels: fixed views, no random draws. Ten
# iterations of 128 images an epoch.
CONFIG = """
_base_ = '{base}'
fixed = dict(type='Resize', scale=(12, 12))
train_dataloader = dict(
    batch_size={batch},
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=[
        dict(
            type='MultiView',
            num_views=[1, 1],
            transforms=[[fixed], [fixed, dict(type='RandomFlip', prob=1.)]]),
        dict(type='PackInputs')
    ]))
model = dict(backbone=dict(stem_channels=8, base_channels=8),
             neck=dict(in_channels=32))
train_cfg = dict(max_epochs=2)
# Small steps: rounding grows with large ones until a ReLU decides differently.
optim_wrapper = dict(optimizer=dict(
    _delete_=True, type='SGD', lr=0.01, momentum=0.9))
# Nothing but the objective and the batch norms shall differ.
param_scheduler = []
default_hooks = dict(logger=dict(interval=1),
                     checkpoint=dict(interval=2))
custom_hooks = []
"""


def run(*command):
    done = subprocess.run(command, cwd=ROOT, env=ENV, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def here(monkeypatch, capsys):
    """A function that runs a command of Python in this process and returns what it prints."""
    monkeypatch.chdir(ROOT)

    def run(main, *arguments):
        monkeypatch.setattr(sys, 'argv', [*map(str, arguments)])
        main()
        return capsys.readouterr().out

    return run


def losses(work_dir):
    lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    return [json.loads(line)['loss'] for line in lines.splitlines()]


@pytest.mark.parametrize(
    'tool, files',
    [
        ('train', ['a config']),
        ('test', ['a config', 'a checkpoint']),
        ('evaluate', ['a checkpoint']),
    ],
)
def test_scripts_hand_on_their_arguments(tool, files, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    script = f'tools/dist_{tool}.sh'
    done = subprocess.run(
        ['bash', script, *files, '3', '--option', 'two words'],
        cwd=ROOT,
        env=dict(os.environ, PYTHON=str(python)),
        text=True,
        capture_output=True,
    )
    assert done.stdout.splitlines() == [
        'tools/launch.py',
        '--standalone',
        '--nproc-per-node',
        '3',
        f'tools/{tool}.py',
        *files,
        '--option',
        'two words',
        '--launcher',
        'pytorch',
    ]
    done = subprocess.run(['bash', script, *files], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2 and done.stderr.startswith(f'usage: bash {script} ')


@pytest.mark.slow
def test_two_processes_follow_one(here, tmp_path):
    """By the commands; tests/test_distributed.py compares all methods in float64."""
    paths = []
    for processes in (1, 2):
        path = tmp_path / f'{processes}.py'
        path.write_text(CONFIG.format(base=ROOT / DIGITS, batch=128 // processes))
        paths.append((path, tmp_path / str(processes)))
    (one, one_dir), (two, two_dir) = paths
    here(tool.main, 'train.py', one, '--work-dir', one_dir)
    run('bash', 'tools/dist_train.sh', two, '2', '--work-dir', two_dir)
    curves = losses(one_dir), losses(two_dir)
    assert len(curves[0]) == len(curves[1]) == 20
    assert abs(curves[0][0] - curves[0][-1]) > 0.01
    assert curves[1] == pytest.approx(curves[0], rel=1e-3, abs=1e-3)
    files = [tmp_path / 'one.json', tmp_path / 'two.json']
    checkpoint, protocols = one_dir / 'epoch_2.pth', ['--protocols', 'knn', '--out']
    here(evaluate.main, 'evaluate.py', checkpoint, *protocols, files[0])
    printed = run('bash', 'tools/dist_evaluate.sh', checkpoint, '2', *protocols, files[1])
    # Ranks that did not find each other would print a table each.
    assert printed.count('\ncheckpoint ') == 1
    scores = [json.loads(file.read_text())['checkpoint'] for file in files]
    assert scores[0] == scores[1]
    assert min(scores[0].values()) > 30


SMALL = {
    'train_dataloader.dataset.indices': 64,
    'train_dataloader.batch_size': 16,
    'model.backbone.base_channels': 4,
    'model.neck.in_channels': 16,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'param_scheduler.0.end': 1,
    'param_scheduler.1.begin': 1,
    'train_cfg.max_epochs': 2,
    'default_hooks.checkpoint.interval': 1,
}


def command(tool, *options, **changes):
    """Training of four iterations an epoch."""
    merged = {key.replace('__', '.'): value for key, value in changes.items()}
    return [
        *tool,
        *options,
        '--cfg-options',
        *(f'{key}={value}' for key, value in (SMALL | merged).items()),
    ]


@pytest.mark.slow
def test_check_plans_and_leaves_nothing(here, tmp_path):
    def digits(*options, **changes):
        options = ['--work-dir', work_dir, *options]
        return here(tool.main, *command(['train.py', DIGITS], *options, **changes))

    work_dir = tmp_path / 'run'
    plan = digits('--check').splitlines()[-9:]
    assert not list(tmp_path.iterdir())
    assert plan[0] == ('data: 64 images, 1 process x batch 16 = 16, 4 iterations an epoch')
    assert plan[1].startswith('batch: the config is meant for 64, this is 16')
    assert plan[2] == 'training: 2 epochs = 8 iterations'
    assert f'each in {work_dir}, every 1 epochs, 2 kept' in '\n'.join(plan)
    assert plan[-1] == 'nothing was trained or kept'
    workers = dict(train_dataloader__num_workers=1, train_dataloader__persistent_workers=True)
    printed = digits(default_hooks__ranks=None, **workers)
    assert 'SignalHook' in printed and 'RanksHook' not in printed
    printed = digits('--check', '--resume')
    assert 'training: 2 epochs = 8 iterations, 0 of them left' in printed
    assert 'time: ' not in printed


@pytest.mark.slow
def test_check_fails_in_one_line(tmp_path, monkeypatch):
    large = dict(train_dataloader__batch_size=65)
    for options, changes, message in [
        (
            ['--resume', f'{tmp_path}/absent.pth'],
            {},
            f'checkpoint {tmp_path}/absent.pth does not exist',
        ),
        (
            [],
            large,
            'train_dataloader gives no batch: it has 64 images, fewer '
            'than its batch_size, 65, and drop_last=True',
        ),
    ]:
        options = ['--check', '--work-dir', f'{tmp_path}/run', *options]
        arguments = command(['train.py', DIGITS], *options, **changes)
        monkeypatch.setattr(sys, 'argv', arguments)
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as stopped:
            tool.main()
        assert stopped.value.code == f'error: {message}'
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_interrupted_ranks_save_and_can_go_on(tmp_path):
    tool = ['bash', 'tools/dist_train.sh', DIGITS, '2']
    options = ['--work-dir', str(tmp_path), '--resume', '--resume-settings', 'config']
    batch = dict(train_dataloader__batch_size=8)
    with (tmp_path / 'printed').open('w') as printed:
        process = subprocess.Popen(
            command(tool, *options, **batch, train_cfg__max_epochs=1000),
            cwd=ROOT,
            env=ENV,
            stdout=printed,
            stderr=printed,
        )
        while process.poll() is None and not list(tmp_path.glob('*.pth')):
            time.sleep(0.1)
        process.terminate()
        assert process.wait(60) == 75, (tmp_path / 'printed').read_text()
    (saved,) = tmp_path.glob('interrupted_*.pth')
    done = int(saved.stem.split('_')[1])
    epochs = done // 4 + 1
    run(*command(tool, *options, **batch, train_cfg__max_epochs=epochs))
    assert not saved.exists() and (tmp_path / f'epoch_{epochs}.pth').exists()


@pytest.mark.slow
@pytest.mark.parametrize('status, left', [(75, 75), (3, 1), (0, 0)])
def test_the_status_of_ranks_is_handed_on(status, left, tmp_path):
    (tmp_path / 'rank.py').write_text(f'raise SystemExit({status})')
    done = subprocess.run(
        [
            sys.executable,
            'tools/launch.py',
            '--standalone',
            '--nproc-per-node',
            '1',
            tmp_path / 'rank.py',
        ],
        cwd=ROOT,
        env=ENV,
    )
    assert done.returncode == left


SRUN = """#!/bin/sh
echo "$@" >> calls
[ "$(wc -l < calls)" -ge {ends} ] || exit 75
exit {status}
"""


@pytest.mark.parametrize('inside', [False, True])
def test_slurm_queues_an_interrupted_run_again(inside, tmp_path):
    for name, text in (
        ('srun', SRUN.format(ends=3, status=4)),
        ('scontrol', '#!/bin/sh\necho "$@" > requeued\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='2')
    if inside:
        env['SLURM_JOB_ID'] = '17'
    script = ROOT / 'tools/slurm_train.sh'
    done = subprocess.run(
        ['bash', script, 'part', 'job', 'c.py', '--resume', 'a.pth'],
        cwd=tmp_path,
        env=env,
        text=True,
        capture_output=True,
    )
    calls = (tmp_path / 'calls').read_text().splitlines()
    assert '--signal USR1@120' in calls[0]
    assert calls[0].endswith('train.py c.py --launcher slurm --resume a.pth')
    if inside:
        # In a batch job, which begins anew.
        assert done.returncode == 75 and len(calls) == 1
        assert (tmp_path / 'requeued').read_text() == 'requeue 17\n'
        env['SLURM_RESTART_COUNT'] = '1'
        subprocess.run(['bash', script, 'part', 'job', 'c.py'], cwd=tmp_path, env=env)
        calls = (tmp_path / 'calls').read_text().splitlines()
        assert calls[1].endswith('--launcher slurm --resume')
    else:
        assert done.returncode == 4 and len(calls) == 3
        # It goes on from what it saved, not from the first one again.
        assert [call.split('slurm ')[1] for call in calls] == [
            '--resume a.pth',
            *['--resume a.pth --resume'] * 2,
        ]


def test_a_run_keeps_its_work_dir(tmp_path, monkeypatch):
    def used(*held):
        assert held == (cfg.work_dir, 'pytorch')
        raise ValueError('in use')

    monkeypatch.setattr(tool, 'lock_work_dir', used)
    cfg = small_run(tmp_path / 'run')
    cfg.launcher = 'pytorch'
    with pytest.raises(ValueError, match='in use'):
        tool.build(cfg, None)


def test_a_config_without_our_hooks_has_our_loop(tmp_path):
    cfg = small_run(tmp_path / 'run')
    cfg.default_hooks, cfg.custom_hooks, cfg.launcher = {}, [], 'none'
    assert type(tool.build(cfg, None).train_loop) is EpochTrainLoop


def test_a_seed_changes_nothing_else(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', DIGITS, '--seed', '5'])
    cfg = Config(dict(randomness=dict(seed=1, deterministic=True)))
    merged = tool.merge_args(cfg, tool.parse_args())
    assert merged.randomness == dict(seed=5, deterministic=True)


def test_the_learning_rate_follows_the_images_of_a_step(tmp_path):
    cfg = small_run(tmp_path / 'run')
    cfg.launcher = 'none'
    cfg.optim_wrapper.accumulative_counts = 4
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=64)
    # The Runner compares it with the images of one iteration of four.
    assert tool.build(cfg, None).auto_scale_lr['base_batch_size'] == 16


def test_iterations_need_a_batch_too(tmp_path):
    cfg = small_run(tmp_path / 'run')
    cfg.launcher = 'none'
    cfg.train_cfg = dict(by_epoch=False, max_iters=4)
    cfg.default_hooks.checkpoint.by_epoch = False
    cfg.train_dataloader.update(batch_size=17, drop_last=True)
    with pytest.raises(ValueError, match='gives no batch: it has 16 images, fewer than its batch'):
        tool.build(cfg, None)
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.experiment_name += '_endless'
    assert tool.build(cfg, None).train_loop.max_iters == 4
