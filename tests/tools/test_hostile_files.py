"""Files from elsewhere in the tools that open them: nothing runs, and one line says so."""

import os
import runpy
import sys
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from crafted_pickle import CRAFTED, crafted
from harmful_pickle import Harmful
from hostile_configs import MODULE, classifier, hostile, plain, text_of
from logged_runs import start
from mmengine.config import Config

import mmentropy  # noqa: F401, registers Digits
from mmentropy.evaluation import build_backbone

# Attacks of which each reaches the tools by another way; all are in tests/checks.
ATTACKS = ('backbone', 'norm', 'preprocessor', 'imports', 'dataset', 'expression')


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs a tool and returns its one line of error."""

    def run_tool(tool, *args):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        with pytest.raises(SystemExit) as error:
            runpy.run_path(f'tools/{tool}', run_name='__main__')
        text = str(error.value)
        assert text.startswith('error: ') and '\n' not in text
        return text

    return run_tool


def commands(path, folder):
    """Yield the tools that open a checkpoint, with their arguments."""
    yield 'embed.py', path, folder
    yield 'evaluate.py', path, '--protocols', 'knn'
    yield 'export.py', path, '--to', 'mmpretrain', '--out', folder / 'out.pth'
    yield 'import_official.py', path, '--out', folder / 'out.pth'
    yield 'propagate.py', path, '--data', folder


def checkpoint(path, config):
    """Write the checkpoint of a small backbone with a config."""
    state = build_backbone(Config(plain())).state_dict()
    weights = {f'backbone.{key}': value for key, value in state.items()}
    torch.save(dict(state_dict=weights, meta=dict(cfg=text_of(config))), path)
    return path


@pytest.mark.parametrize('name', ATTACKS)
def test_a_stored_config_runs_nothing(name, run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    configs, canary = hostile(tmp_path)
    path = checkpoint(tmp_path / 'epoch_1.pth', configs[name])
    for command in commands(path, tmp_path):
        text = run(*command)
        assert 'refused: a stored config' in text and '--trust' in text
        assert not canary.exists()
        assert not (tmp_path / 'out.pth').exists()


def test_a_data_set_unpickles_nothing(run, tmp_path):
    configs, canary = hostile(tmp_path)
    path = checkpoint(tmp_path / 'epoch_1.pth', configs['pickle'])
    assert 'reads the pickle' in run('evaluate.py', path)
    assert not canary.exists()


def test_a_pickle_runs_nothing(run, tmp_path):
    torch.save(dict(state_dict={}, meta=Harmful(tmp_path / 'canary')), tmp_path / 'a.pth')
    for command in [
        *commands(tmp_path / 'a.pth', tmp_path),
        ('zoo_file.py', tmp_path / 'a.pth', 'name'),
    ]:
        assert 'refused: it holds' in run(*command)
    assert not (tmp_path / 'canary').exists()


@pytest.fixture(params=CRAFTED)
def armed(request, tmp_path):
    """Return a checkpoint that runs a command where it is unpickled, and the command's canary."""
    canary = tmp_path / 'canary'
    plain_file = checkpoint(tmp_path / 'plain.pth', plain())
    path = crafted(plain_file, tmp_path / 'epoch_1.pth', request.param, f'touch {canary}')
    with suppress(TypeError):
        torch.load(path, weights_only=False)
    assert canary.exists()
    canary.unlink()
    return path, canary


@pytest.mark.slow
def test_a_crafted_pickle_runs_nothing(armed, run, tmp_path):
    path, canary = armed
    probe = classifier(tmp_path / 'probe.py')
    train = ('train.py', 'configs/mec/r18s_1xb64_50e_digits.py', '--work-dir', tmp_path / 'run')
    weights = 'model.backbone.init_cfg.'
    for command in [
        *commands(path, tmp_path),
        (*train, '--resume', path),
        (*train, '--resume', path, '--check'),
        (*train, '--cfg-options', f'load_from={path}'),
        (*train, '--cfg-options', f'{weights}type=Pretrained', f'{weights}checkpoint={path}'),
        ('test.py', probe, path, '--work-dir', tmp_path / 'tested'),
        ('zoo_file.py', path, 'name'),
    ]:
        assert 'refused: it holds' in run(*command), command
        assert not canary.exists(), command
    assert 'holds no features' in run('neighbours.py', path, '-k', 1, '--duplicates', 1)
    assert not canary.exists()


@pytest.mark.slow
def test_a_crafted_pickle_in_a_work_directory_runs_nothing(armed, capsys, monkeypatch, tmp_path):
    path, canary = armed
    work_dir = tmp_path / 'run'
    start(work_dir, '20261122_142736', 10, 30)
    next(work_dir.glob('*/vis_data/config.py')).write_text(text_of(plain()))
    path.rename(work_dir / path.name)
    monkeypatch.setattr(sys, 'argv', ['report.py', str(work_dir)])
    runpy.run_path('tools/report.py', run_name='__main__')
    assert 'refused: it holds' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', ['select_runs.py', str(work_dir)])
    with suppress(SystemExit):
        runpy.run_path('tools/select_runs.py', run_name='__main__')
    assert not canary.exists()


def test_a_pickle_among_features_runs_nothing(run, tmp_path):
    canary, path = tmp_path / 'canary', tmp_path / 'features.npz'
    harmful = np.array([Harmful(canary)], object)
    np.savez(path, features=harmful, paths=harmful, folder=harmful)
    assert str(path) in run('neighbours.py', path, '-k', 1, '--duplicates', 1)
    assert not canary.exists()
    np.load(path, allow_pickle=True)['features']
    assert canary.exists()


def test_a_stored_config_makes_no_huge_network(run, tmp_path):
    config = plain()
    config['model']['backbone'].update(base_channels=4096)
    path = checkpoint(tmp_path / 'epoch_1.pth', config)
    for tool, *args in commands(path, tmp_path):
        # The others make what the config says; this one what the weights have the shape of.
        if tool != 'import_official.py':
            assert 'makes a network that is larger' in run(tool, *args)


@pytest.mark.parametrize('name', ['device', 'pipe', 'bomb', 'expanded', 'elsewhere'])
def test_odd_files_are_no_checkpoints(name, run, tmp_path):
    path = tmp_path / 'file.pth'
    if name == 'device':
        path.symlink_to('/dev/zero')
    elif name == 'pipe':
        os.mkfifo(path)
    elif name == 'expanded':
        torch.save(dict(state_dict=dict(w=torch.ones(1).expand(10**10))), path)
    else:
        torch.save(dict(state_dict=dict(w=torch.zeros(10**6))), tmp_path / 'plain.pth')
        kind = zipfile.ZIP_DEFLATED if name == 'bomb' else zipfile.ZIP_STORED
        with (
            zipfile.ZipFile(tmp_path / 'plain.pth') as old,
            zipfile.ZipFile(path, 'w', kind) as new,
        ):
            for item in old.infolist():
                new.writestr(item.filename, old.read(item))
            if name == 'elsewhere':
                new.writestr('../../elsewhere', b'')
    train = ('train.py', 'configs/mec/r18s_1xb64_50e_digits.py', '--work-dir', tmp_path / 'run')
    for command in [*commands(path, tmp_path), (*train, '--resume', path)]:
        text = run(*command)
        assert str(path) in text or name == 'elsewhere'
        assert not (tmp_path.parent / 'elsewhere').exists()


def test_trust_imports_what_a_config_names(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    configs, canary = hostile(tmp_path)
    path = checkpoint(tmp_path / 'epoch_1.pth', configs['imports'])
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', str(path), '--protocols', 'knn', '--trust'])
    try:
        runpy.run_path('tools/evaluate.py', run_name='__main__')
    finally:
        sys.modules.pop(MODULE, None)
    assert canary.exists()


def test_a_work_directory_runs_nothing(monkeypatch, capsys, tmp_path):
    canary, work_dir = tmp_path / 'canary', tmp_path / 'work'
    start(work_dir, '20261122_142736', 10, 30)
    config = next(work_dir.glob('*/vis_data/config.py'))
    # mmengine 0.10.7 takes a file with an import for a lazy config, whose calls it does not make.
    code = (
        f'__import__("os").mkdir({str(canary)!r})\n'
        'custom_hooks = [dict(type="EntropyMonitorHook")]\n'
    )
    config.write_text(code)
    out = tmp_path / 'report.html'
    commands = [
        ('report.py', work_dir, '--out', out),
        ('select_runs.py', work_dir),
    ]
    for trust in (False, True):
        for tool, *args in commands:
            monkeypatch.setattr(sys, 'argv', [tool, *map(str, args), *['--trust'] * trust])
            with suppress(SystemExit):
                runpy.run_path(f'tools/{tool}', run_name='__main__')
            said = capsys.readouterr().err
            assert ('config.py cannot be read: refused: it is not made' in said) is not trust
            assert canary.exists() is trust
            if trust:
                canary.rmdir()


def test_a_config_of_a_work_directory_runs_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    configs, canary = hostile(tmp_path)
    for name in ATTACKS:
        work_dir = tmp_path / name
        start(work_dir, '20261122_142736', 10, 30)
        next(work_dir.glob('*/vis_data/config.py')).write_text(text_of(configs[name]))
        checkpoint(work_dir / 'epoch_1.pth', plain())
        monkeypatch.setattr(sys, 'argv', ['report.py', str(work_dir)])
        runpy.run_path('tools/report.py', run_name='__main__')
        assert 'refused: a stored config' in capsys.readouterr().err
        assert not canary.exists()
