"""What tools/doctor.py says of environments, sound and broken."""

import importlib.util
import subprocess
import sys

import pytest
from repository import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'doctor.py'


@pytest.fixture
def doctor():
    spec = importlib.util.spec_from_file_location('doctor', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_name(findings):
    return {finding.name: finding for finding in findings}


@pytest.mark.slow
def test_this_environment_is_well():
    done = subprocess.run([sys.executable, TOOL], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith('all is well\n')
    lines = {line.split()[1]: line for line in done.stdout.splitlines()[:-2]}
    assert 'fits torch' in lines['torchvision']
    assert 'onedl-mmengine' in lines['mmengine']
    assert 'mmentropy.compat.mmcv_ops serves' in lines['mmcv'] or 'compiled' in lines['mmcv']


@pytest.mark.slow
def test_two_owners_and_missing_packages(doctor):
    stack = doctor.load_stack()
    owners = dict(
        mmengine=['onedl-mmengine 0.10.12', 'mmengine 0.10.7'],
        mmcv=['onedl-mmcv 2.3.6'],
        mmpretrain=[],
        mmdet=[],
        mmseg=[],
    )
    stack.owners_of = owners.get
    found = by_name(doctor.check_owners(stack))
    assert found['mmengine'].state == 'BROKEN'
    assert 'uninstall -y onedl-mmengine mmengine;' in found['mmengine'].mend
    assert found['mmcv'].state == 'ok'
    assert found['mmpretrain'].state == 'BROKEN'
    assert found['mmpretrain'].mend == "pip install -e '.[onedl]'"
    assert found['mmdet'].state == 'note'
    assert found['mmdet'].mend == "pip install -e '.[onedl,det]'"
    assert found['mmseg'].mend == "pip install -e '.[onedl,seg]'"
    assert found['mmseg'].text == 'not installed; needed for segmentation'


@pytest.mark.parametrize(
    'name, cures',
    [
        ('mmcv-lite', ["pip install -e '.[openmmlab]'", 'pip install mmdet']),
        ('onedl-mmcv', ["pip install -e '.[onedl]'", "pip install -e '.[onedl,det]'"]),
    ],
)
def test_cures_follow_the_stack_that_is_there(doctor, monkeypatch, name, cures):
    monkeypatch.setattr(doctor, 'installed', {name: '2.1.0'}.get)
    stack = doctor.load_stack()
    stack.owners_of = lambda package: []
    found = by_name(doctor.check_owners(stack))
    assert [found[package].mend for package in ('mmpretrain', 'mmdet')] == cures


def test_a_package_that_does_not_import(doctor, monkeypatch):
    stack = doctor.load_stack()
    stack.owners_of = lambda package: [f'{package} 1.0']
    monkeypatch.setattr(
        doctor, 'run', lambda code: (False, "ModuleNotFoundError: No module named 'x'")
    )
    for finding in doctor.check_owners(stack):
        assert finding.state == 'BROKEN'
        assert finding.text.endswith("1.0: ModuleNotFoundError: No module named 'x'")
        assert finding.name in finding.mend


@pytest.mark.parametrize(
    'versions, broken, notes',
    [
        (dict(mmengine='0.10.7', setuptools='82.0'), ['setuptools'], ['resume']),
        (dict(mmengine='0.10.7'), ['setuptools'], ['resume']),
        (dict(mmengine='0.10.7', setuptools='80.9', numpy='1.26.4'), [], ['resume']),
        ({'mmcv-lite': '2.1.0', 'numpy': '2.4.6'}, [], []),
        ({'onedl-mmcv': '2.3.6', 'numpy': '2.4.6'}, [], []),
        ({'onedl-mmengine': '0.10.12', 'setuptools': '82.0', 'torch': '2.14.1'}, [], []),
        (dict(transformers='5.23.0'), ['transformers'], []),
        (dict(transformers='4.57.1'), [], []),
        ({'opencv-python': '5.0.0.93', 'opencv-python-headless': '4.12.0.88'}, [], ['opencv']),
    ],
)
def test_known_clashes(doctor, monkeypatch, versions, broken, notes):
    monkeypatch.setattr(doctor, 'installed', versions.get)
    # A process that imports the packages that are there takes seconds.
    monkeypatch.setattr(doctor, 'run', lambda code: (True, '2.4.6 fits torch'))
    found = doctor.check_clashes()
    assert [f.name for f in found if f.state == 'BROKEN'] == broken
    assert [f.name for f in found if f.state == 'note'] == notes
    assert all(f.mend for f in found if f.state != 'ok')


@pytest.mark.parametrize(
    'version, state, text',
    [
        ((3, 9, 18), 'BROKEN', '3.9.18, needs 3.10 or newer'),
        ((3, 10, 13), 'ok', '3.10.13, '),
        ((3, 13, 0), 'ok', '3.13.0, '),
        ((3, 14, 0), 'note', '3.14.0; tested on 3.10 to 3.13'),
    ],
)
def test_pythons(doctor, monkeypatch, version, state, text):
    monkeypatch.setattr(doctor.sys, 'version_info', version)
    found = doctor.check_python()
    assert found.state == state and found.text.startswith(text)


@pytest.mark.parametrize('torch', [None, '2.3.1', '1.13.1+cu117'])
def test_old_or_missing_torch(doctor, monkeypatch, torch):
    monkeypatch.setattr(doctor, 'installed', {'torch': torch}.get)
    (finding,) = doctor.check_torch()
    assert finding.state == 'BROKEN'
    assert finding.mend == 'pip install -U torch torchvision'


def test_exit_status(doctor, monkeypatch, capsys):
    sick = doctor.Finding('BROKEN', 'torch', 'no', 'cure')
    for name in ('check_torch', 'check_owners', 'check_clashes'):
        monkeypatch.setattr(doctor, name, lambda *args: [sick])
    for name in ('check_python', 'check_ops', 'check_mmentropy'):
        monkeypatch.setattr(doctor, name, lambda: doctor.Finding('ok', 'x', 'fine'))
    with pytest.raises(SystemExit) as raised:
        doctor.main()
    assert raised.value.code == 1
    assert '-> cure' in capsys.readouterr().out
