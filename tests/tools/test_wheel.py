"""The built wheel, installed and used away from the sources."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from repository import REPOSITORY

pytestmark = pytest.mark.slow
MOST_BYTES = 10_000_000
RECIPE = 'mec/r18s_1xb64_50e_digits'

DATA_SET = """
import numpy as np
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class Squares(CustomDataset):
    def __init__(self, seed, **kwargs):
        self.seed = seed
        super().__init__(data_root='.', **kwargs)

    def load_data_list(self):
        rng = np.random.default_rng(self.seed)
        images = rng.integers(0, 256, (32, 8, 8), np.uint8)
        return [dict(img=img, img_shape=(8, 8), gt_label=i % 2) for i, img in enumerate(images)]
"""

CONFIG = f"""
_base_ = 'mmentropy::{RECIPE}.py'
custom_imports = dict(imports=['mmentropy', 'squares'], allow_failed_imports=False)
pipeline = _base_.train_dataloader.dataset.pipeline
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, type='Squares', seed=0, pipeline=pipeline),
)
squares = dict(_delete_=True, type='Squares', pipeline=_base_.eval_pipeline)
eval_datasets = dict(train=dict(squares, seed=0), test=dict(squares, seed=1))
param_scheduler = []
train_cfg = dict(max_epochs=2)
custom_hooks = []
default_hooks = dict(checkpoint=dict(interval=1))
"""


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder with the installed wheel, whose dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp('wheel')
    skipped = shutil.ignore_patterns('.*_cache', '.git', '.venv', 'data', 'work_dirs', '*.egg-info')
    shutil.copytree(REPOSITORY, folder / 'sources', symlinks=True, ignore=skipped)
    pip = [sys.executable, '-m', 'pip', '--quiet']
    options = ['--no-deps', '--no-build-isolation', '--no-index']
    run([*pip, 'wheel', *options, '--wheel-dir', folder, folder / 'sources'])
    (wheel,) = folder.glob('*.whl')
    assert wheel.stat().st_size < MOST_BYTES
    run([*pip, 'install', '--no-deps', '--no-index', '--target', folder / 'site', wheel])
    return folder / 'site'


def run(command, cwd=None, **variables):
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=dict(os.environ, OMP_NUM_THREADS='1', **variables),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def python(site, tmp_path):
    """A function that runs Python with the installed wheel in an empty folder."""
    return lambda *arguments: run([sys.executable, *arguments], tmp_path, PYTHONPATH=site)


def test_what_the_hosts_find(python, site):
    lines = [
        'import mmentropy',
        f'assert mmentropy.__file__.startswith({str(site)!r})',
        'from mmengine.hub import get_config, get_model',
        f"assert get_config('mmentropy::{RECIPE}.py').model.type == 'MEC'",
        f"get_model('mmentropy::{RECIPE}.py')",
        'from mmpretrain import FeatureExtractor, get_model, list_models',
        "assert 'mec_r18s_1xb64_50e_digits' in list_models('mec*')",
        "model = get_model('mec_fast_r18s_1xb64_50e_digits', pretrained=True)",
        'from mmentropy.models import MEC; assert isinstance(model, MEC)',
        'import numpy as np; image = np.zeros((20, 20, 1), np.uint8)',
        "FeatureExtractor('mec_r18s_1xb64_50e_digits', pretrained=False)(image)",
    ]
    lines += [
        'from mmentropy.report.config_differences import CONFIGS',
        f"assert (CONFIGS / '{RECIPE}.py').is_file()",
    ]
    python('-c', '\n'.join(lines))


def test_the_command(python, site):
    assert RECIPE in python(site / 'bin' / 'mmentropy', 'configs', 'digits')
    assert 'mmentropy 0.2' in python('-m', 'mmentropy', '--version')
    assert 'MECLoss' in python('-m', 'mmentropy', 'config', RECIPE, 'model.head')


def test_a_folder_of_images(python, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'photos').mkdir()
    for i in range(16):
        img = rng.integers(0, 256, (40, 36, 3), np.uint8)
        Image.fromarray(img).save(tmp_path / 'photos' / f'{i}.png')
    out = python('-m', 'mmentropy', 'pretrain', 'photos', '--epochs', '1', '--out', 'run')
    assert 'training: 1 epochs = 2 steps of batch 8' in out and 'torchvision: ' in out
    assert (tmp_path / 'run' / 'report.html').stat().st_size > 10_000
    with np.load(tmp_path / 'run' / 'embeddings.npz') as found:
        assert found['features'].shape == (16, 128)


def test_a_project_of_two_files(python, site, tmp_path):
    (tmp_path / 'squares.py').write_text(DATA_SET)
    (tmp_path / 'mine.py').write_text(CONFIG)
    # Unlike -m, the command does not look for modules in the folder where it is run.
    command = site / 'bin' / 'mmentropy'
    train = [command, 'train', 'mine.py', '--work-dir', 'run']
    python(*train)
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'epoch_1.pth'))
    assert 'Epoch(train) [2]' in python(*train, '--resume')
    evaluate = [command, 'evaluate', 'run/epoch_2.pth', '--config', 'mine.py']
    assert 'checkpoint' in python(*evaluate, '--protocols', 'knn')
