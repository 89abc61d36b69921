"""A real run is measured, and its page shows what was found."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from html_page import Page
from logged_runs import start
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmpretrain.models import SelfSupDataPreprocessor
from PIL import Image

from mmentropy.report import measured_runs, read_runs, report_html
from mmentropy.report.config_differences import CONFIGS
from mmentropy.report.measured import checkpoint_of, evenly, measure_run, pictures_of_views
from mmentropy.report.pictures import encoded
from mmentropy.views import PerChannelPreprocessor


@pytest.fixture(scope='module')
def trained_dir(tmp_path_factory) -> Path:
    """Two epochs of three iterations on digits, by the monitor and kNN."""
    work_dir = tmp_path_factory.mktemp('runs') / 'tiny'
    cfg = Config.fromfile(CONFIGS / 'mec/fast_r18s_1xb64_50e_digits.py')
    cfg.merge_from_dict(
        {
            'model.backbone.base_channels': 4,
            'model.backbone.stem_channels': 4,
            'model.neck.in_channels': 16,
            'train_dataloader.dataset.indices': 200,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'eval_datasets.train.indices': 120,
            'eval_datasets.test.indices': 60,
            'train_cfg.max_epochs': 2,
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.interval': 2,
            'work_dir': str(work_dir),
        }
    )
    cfg.custom_hooks = [
        dict(type='EntropyMonitorHook', interval=3, images=32),
        dict(type='KNNHook', interval=1),
    ]
    cfg.param_scheduler = []
    Runner.from_cfg(cfg).train()
    # A report is made by a process of its own, where no iteration counts.
    MessageHub.get_current_instance()._runtime_info.clear()
    return work_dir


@pytest.fixture(scope='module')
def measured(trained_dir) -> dict:
    state = torch.get_rng_state()
    found = measured_runs(read_runs([trained_dir]))
    assert torch.equal(state, torch.get_rng_state())
    return found


@pytest.mark.slow
def test_real_run(trained_dir, measured):
    runs = read_runs([trained_dir])
    features = measured['A'].features
    # A second witness: what the hook measured after the last epoch.
    assert features.knn == pytest.approx(runs[0].last('knn/top1'))
    assert features.rows == '120 training images, 60 test images'
    assert features.points.shape == (60, 2)
    assert features.points.min(axis=0).tolist() == [0, 0]
    assert features.points.max(axis=0).tolist() == [1, 1]
    wrong = sum(a != b for a, b in zip(features.labels, features.predicted))
    assert 100 - 100 * wrong / 60 == pytest.approx(features.knn)
    assert features.mistakes() == wrong
    counts = features.class_counts()
    assert sum(int(count) for _, count, _ in counts) == 60
    assert sum(int(count) for _, _, count in counts) == wrong
    html = report_html(runs, measured)
    page = Page(html)
    assert len(page.drawings()) > 10
    marks = [a['class'] for a in page.all('span') if a.get('class', '').startswith('mark')]
    assert (len(marks), marks.count('mark wrong')) == (60, wrong)
    images = page.all('img')
    assert len(images) == 8 * 7 + 8 * 3 + 60
    assert all(a['alt'] for a in images)
    assert 'no alarm' in page.text
    assert len(html) < 1_000_000


def test_fewer_training_images_than_voters(trained_dir):
    run = read_runs([trained_dir])[0]
    run.config.eval_datasets.train.indices = 15
    features = measure_run(run)
    assert features.rows == '15 training images, 60 test images'
    assert features.knn > 10 and len(features.neighbours) > 1


def test_views_are_the_same_in_any_report(trained_dir, measured):
    """Two of each image, neither the other nor the image."""
    (run,) = read_runs([trained_dir])
    assert measured['A'].views == pictures_of_views(run)
    assert len(measured['A'].views) == 8
    for image, one, two in measured['A'].views:
        assert len({image.uri, one.uri, two.uri}) == 3
        assert image.width == one.width == 16


def test_views_of_a_part_of_the_test_set(trained_dir):
    """The training pipeline goes to the data set that a wrapper takes rows of."""
    (run,) = read_runs([trained_dir])
    part = dict(type='LabelSubset', dataset=run.config.eval_datasets.test, fraction=0.5)
    run.config.eval_datasets.test = part
    found = pictures_of_views(run)
    assert len(found) == 8
    assert all(len({picture.uri for picture in row}) == 3 for row in found)
    assert run.config.eval_datasets.test == part


def test_views_need_a_training_pipeline(trained_dir):
    (run,) = read_runs([trained_dir])
    sets = [run.config.train_dataloader.dataset]
    run.config.train_dataloader.dataset = dict(type='ConcatDataset', datasets=sets)
    with pytest.raises(ValueError, match='dataset, a ConcatDataset, has no pipeline .*: remove'):
        pictures_of_views(run)


def test_neighbours_by_brute_force(trained_dir, measured):
    from mmpretrain.registry import DATASETS

    from mmentropy.evaluation import (
        build_backbone,
        build_data_preprocessor,
        extract_features,
    )
    from mmentropy.weights.backbone import load_backbone

    (run,) = read_runs([trained_dir])
    backbone = build_backbone(run.config)
    load_backbone(backbone, trained_dir / 'epoch_2.pth')
    (bank, bank_y), (test, test_y) = [
        extract_features(
            backbone,
            DATASETS.build(run.config.eval_datasets[split]),
            build_data_preprocessor(run.config),
        )
        for split in ('train', 'test')
    ]
    found = measured['A'].features.neighbours
    assert len(found) == 8
    for item in found:
        row = test_y.tolist().index(item.label)
        cosines = torch.cosine_similarity(test[row][None], bank, dim=1)
        order = sorted(range(len(bank)), key=lambda i: -cosines[i])[:6]
        assert [label for _, label in item.found] == bank_y[order].tolist()


@pytest.mark.parametrize('channels', [1, 3])
def test_pictures_are_undone_of_normalisation(channels):
    pixels = torch.arange(2 * channels * 64).view(2, channels, 8, 8) % 256
    mean, std = [10.0, 20.0, 30.0][:channels], [2.0, 3.0, 5.0][:channels]
    preprocessor = SelfSupDataPreprocessor(mean=mean, std=std)
    inputs = preprocessor(dict(inputs=[pixels.float()], data_samples=None))['inputs'][0]
    for picture, expected in zip(encoded(inputs, preprocessor), pixels, strict=True):
        data = base64.b64decode(picture.uri.removeprefix('data:image/png;base64,'))
        found = np.array(Image.open(io.BytesIO(data))).reshape(8, 8, channels)
        assert np.array_equal(found, expected.permute(1, 2, 0))


def test_pictures_have_three_channels_at_most():
    images, plain = 255 * torch.rand(2, 5, 8, 8), SelfSupDataPreprocessor()
    for channels in (4, 5):
        assert encoded(images[:, :channels], plain) == encoded(images[:, :3], plain)


def test_pictures_of_16_bits_show_two_deviations_about_the_mean():
    preprocessor = PerChannelPreprocessor([4000.0] * 8, [2000.0] * 8)
    images = torch.full((1, 8, 40, 40), 4000.0)
    images[..., :20] = 8000.0
    (picture,) = encoded(preprocessor(dict(inputs=images))['inputs'], preprocessor)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.uri.split(',')[1]))))
    assert pixels.shape == (40, 40, 3)
    assert np.abs(pixels[:, :10].astype(int) - 255).max() < 9
    assert np.abs(pixels[:, 30:].astype(int) - 128).max() < 9


def test_newest_checkpoint(tmp_path):
    (run,) = read_runs([start(tmp_path, '20261122_142736', 10, 20)])
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        checkpoint_of(run)
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_iter_3.pth'):
        (tmp_path / name).touch()
    assert checkpoint_of(run).name == 'epoch_10.pth'
    # The folder was moved since.
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_9.pth')
    assert checkpoint_of(run).name == 'epoch_9.pth'
    assert checkpoint_of(run, 'best_iter_3.pth').name == 'best_iter_3.pth'
    with pytest.raises(FileNotFoundError, match='nope.pth does not exist'):
        checkpoint_of(run, 'nope.pth')


def test_evenly():
    assert evenly(5, 9) == [0, 1, 2, 3, 4]
    assert evenly(11, 3) == [0, 5, 10]
