"""The notebooks run in an empty folder, with shorter trainings, and show what their texts say."""

import os

import nbformat
import pytest
from nbclient import NotebookClient
from repository import REPOSITORY

NOTEBOOKS = REPOSITORY / 'docs/notebooks'


def run(name, folder, shorter):
    """The texts that the cells of a notebook show; ``shorter`` replaces words of its code."""
    text = (NOTEBOOKS / f'{name}.ipynb').read_text()
    for long, short in shorter.items():
        assert long in text, f'{name}.ipynb no longer has {long}'
        text = text.replace(long, short)
    notebook = nbformat.reads(text, 4)
    resources = dict(metadata=dict(path=folder))
    # A cell that raises an error raises it here.
    NotebookClient(notebook, timeout=600, kernel_name='python3', resources=resources).execute()
    texts = [
        ''.join(out.get('text', '') + str(out.get('data', '')) for out in cell.get('outputs', []))
        for cell in notebook.cells
    ]
    return '\n'.join(texts)


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(REPOSITORY)]))


def test_notebooks_are_kept_without_what_they_showed():
    for path in NOTEBOOKS.glob('*.ipynb'):
        cells = nbformat.read(path, 4).cells
        assert not any(cell.get('outputs') or cell.get('execution_count') for cell in cells)


@pytest.mark.slow
def test_photos(tmp_path):
    shown = run('photos', tmp_path, {'minutes=0.5': 'minutes=0.1'})
    assert '(160, 128)' in shown and 'image/png' in shown and 'PretrainedBackbone' in shown


@pytest.mark.slow
def test_detector(tmp_path):
    shown = run('detector', tmp_path, {'max_epochs = 4': 'max_epochs = 1'})
    assert 'segm_mAP' in shown and 'image/png' in shown


@pytest.mark.slow
def test_objective(tmp_path):
    shorter = {
        'max_epochs = 8': 'max_epochs = 1',
        'epoch_8.pth': 'epoch_1.pth',
        'interval = 8': 'interval = 1',
    }
    shown = run('objective', tmp_path, shorter)
    assert "'checkpoint': {'knn'" in shown and 'volume' in shown
