"""Configs with views made in batch: what they change, and a training that resumes."""

import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from repository import REPOSITORY

from mmentropy.evaluation import build_data_preprocessor, extract_features

CONFIGS = REPOSITORY / 'configs'


@pytest.fixture(autouse=True)
def scope_and_seeds():
    init_default_scope('mmpretrain')
    np.random.seed(0)
    random.seed(0)


FAST = sorted(CONFIGS.glob('*/*fast_*.py'))
# These recipes make views in batch only: one budget for all methods.
ALONE = sorted(path.stem for path in FAST if path.stem.endswith('fast_r18s_1xb256_10e_cifar10'))
ALONE += ['minent_fast_zeroinit_r18s_1xb256_10e_cifar10']


@pytest.mark.slow
@pytest.mark.parametrize(
    'path', [path for path in FAST if path.stem not in ALONE], ids=lambda path: path.stem
)
def test_fast_configs_change_the_loader_only(path):
    fast = Config.fromfile(path)
    slow = Config.fromfile(path.with_name(path.name.replace('fast_', '')))
    steps = slow.train_dataloader.dataset.pipeline
    assert fast.data_preprocessor.pipeline == steps
    preprocessor = MODELS.build(fast.data_preprocessor)
    multi = next(s for s in steps if s.type == 'MultiView')
    assert len(preprocessor.views) == sum(multi.num_views)
    load, pack = [fast.train_dataloader.dataset.pipeline[i] for i in (0, -1)]
    assert pack.type == 'PackImage'
    assert fast.train_dataloader.collate_fn.type == 'collate_images'
    if load.type == 'ReducedLoadImageFromFile':
        crops = [t for view in multi.transforms for t in view if 'RandomResizedCrop' in t.type]
        for crop in crops:
            least = crop.get('crop_ratio_range', crop.get('scale'))
            if isinstance(least, int):
                least = (0.08, 1)
            assert load.size == crop.get('size', crop.get('scale'))
            assert load.get('crop_ratio_range', (0.08, 1))[0] <= least[0]
    for cfg in (fast, slow):
        for key in ('type', 'pipeline'):
            cfg.data_preprocessor.pop(key, None)
        cfg.train_dataloader.pop('collate_fn')
        cfg.train_dataloader.dataset.pop('pipeline')
    for key in (
        'data_preprocessor',
        'train_dataloader',
        'model',
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
    ):
        assert fast[key] == slow[key]


def test_one_budget_has_the_same_views():
    """All methods at 10 epochs of CIFAR-10 see images and views alike, but for their number."""
    assert len(ALONE) == 23
    configs = [Config.fromfile(path) for path in FAST if path.stem in ALONE]
    for cfg in configs:
        views = [step for step in cfg.data_preprocessor.pipeline if step.type == 'MultiView'][0]
        assert len(views.num_views) == 1
        views.num_views = None
        for key in ('data_preprocessor', 'train_dataloader', 'eval_datasets', 'train_cfg'):
            assert cfg[key] == configs[0][key], (cfg.filename, key)
        if 'zeroinit' not in cfg.filename:
            assert cfg.model.backbone == configs[0].model.backbone, cfg.filename


def test_there_is_a_fast_config_of_every_method_and_data():
    found = {(path.parent.name, path.stem.split('e_')[-1]) for path in FAST}
    small = {
        (method, data)
        for method in ('mec', 'er', 'minent')
        for data in ('digits', 'fashion_mnist', 'cifar10')
    }
    assert found >= small | {
        ('mec', 'in1k'),
        ('er', 'in1k'),
        ('minent', 'imagenet100'),
        ('mec', 'folder'),
    }


def digits_run(work_dir, epochs, **kwargs):
    cfg = Config.fromfile(CONFIGS / 'mec/fast_r18s_1xb64_50e_digits.py')
    cfg.train_dataloader.num_workers = 0
    cfg.train_dataloader.persistent_workers = False
    cfg.train_dataloader.dataset.indices = 128
    for entry in cfg.eval_datasets.values():
        entry.indices = 64
    cfg.param_scheduler = []
    cfg.train_cfg.max_epochs = epochs
    cfg.default_hooks.checkpoint.interval = 1
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{work_dir.name}_{epochs}_{len(kwargs)}'
    cfg.merge_from_dict(kwargs)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.slow
def test_training_resumes_as_if_unbroken(tmp_path):
    """By the Runner, with kNN on the way; evaluation has the same norm."""
    whole = digits_run(tmp_path / 'whole', 2)
    assert whole.message_hub.get_scalar('val/knn_top1').current() > 0
    # The EMA's schedule follows max_iters: the same number of epochs.
    resumed = digits_run(
        tmp_path / 'resumed', 2, resume=True, load_from=str(tmp_path / 'whole/epoch_1.pth')
    )
    states = [r.model.state_dict() for r in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=0, atol=0)
    other = digits_run(tmp_path / 'other', 2, **{'randomness.seed': 1})
    assert not torch.equal(
        next(iter(other.model.parameters())), next(iter(whole.model.parameters()))
    )
    # As tools/evaluate.py sees it.
    cfg = whole.cfg
    stored = build_data_preprocessor(cfg)
    rows = cfg.eval_datasets['test']
    plain = SelfSupDataPreprocessor(mean=[77.8], std=[95.7])
    backbone = whole.model.backbone
    expected = extract_features(backbone, rows, plain)[0]
    for preprocessor in (stored, whole.model.data_preprocessor):
        features = extract_features(backbone, rows, preprocessor)[0]
        assert torch.equal(features, expected)
    data = dict(inputs=torch.rand(2, 1, 16, 16), data_samples=None)
    data = whole.model.data_preprocessor(data, False)
    whole.model.eval()
    assert whole.model(**data, mode='tensor')[-1].shape[:2] == (2, 128)
