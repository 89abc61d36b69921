"""Images that cannot be read: replaced, counted, reported."""

import ast
import multiprocessing
import random
import sys
from functools import partial
from pathlib import Path

import fake_data
import numpy as np
import pytest
import torch
import train
from image_kinds import (
    BAD,
    GOOD,
    JPEG,
    MIXED,
    PHOTO,
    PNG,
    encoded,
    lay,
)
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from PIL import Image
from ranks import on_ranks
from repository import recipe_on
from torch.utils.data import DataLoader, Dataset

from mmentropy.datasets import unreadable_images
from mmentropy.datasets.unreadable_images import replacing
from mmentropy.engine.hooks.bad_images import BadImagesHook
from mmentropy.engine.seeded_loader import SeededDataset


@pytest.fixture(autouse=True)
def _own_run(monkeypatch):
    """No run but those of the test."""
    init_default_scope('mmpretrain')
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())


def pipelines() -> dict[str, list]:
    """Those of the pre-training configs that read files."""
    names = (
        'folder',
        'imagenet',
        'imagenet_byol',
        'imagenet_simclr',
        'imagenet_multicrop',
        'imagenet100',
        'tiny_imagenet',
    )
    return {name: recipe_on(name).train_dataloader.dataset for name in names}


@pytest.mark.slow
@pytest.mark.parametrize('name,dataset', pipelines().items())
def test_views_of_good_images(name, dataset, tmp_path):
    """Every shipped pipeline takes every kind, one pixel included."""
    for file, (content, _, _) in GOOD.items():
        (tmp_path / file).write_bytes(content)
    data = DATASETS.build(
        dict(type='ImageFolder', data_root=str(tmp_path), pipeline=dataset.pipeline)
    )
    assert len(data) == len(GOOD)
    for i in range(len(data)):
        seed_sample(i)
        views = data[i]['inputs']
        assert len(views) >= 2
        assert all(v.dtype == torch.uint8 and len(v) == 3 for v in views)
    assert data.num_unreadable == 0


def seed_sample(index: int) -> None:
    random.seed(index)
    np.random.seed(index)
    torch.manual_seed(index)


class Seeded(Dataset):
    """Each image from generators of its own."""

    def __init__(self, data) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict:
        seed_sample(index)
        return self.data[index]


def small_pipeline() -> list:
    pipeline = pipelines()['folder'].pipeline
    for view in pipeline[1].transforms:
        view[0].scale = 16
    return pipeline


@pytest.fixture(scope='session')
def good_images() -> list[bytes]:
    """Five hundred, each of its own."""
    rng = np.random.RandomState(0)
    images = [
        Image.fromarray(array).resize((24, 20), Image.BILINEAR)
        for array in rng.randint(0, 256, (500, 6, 6, 3), dtype=np.uint8)
    ]
    return [encoded(image, ('JPEG', 'PNG')[i % 2]) for i, image in enumerate(images)]


def write(root: Path, images: list[bytes], bad: dict[str, bytes]) -> None:
    """A folder of images in which the bad ones lie here and there."""
    lay(
        root,
        {
            **{f'{i:03}.{("jpg", "png")[i % 2]}': content for i, content in enumerate(images)},
            **{name: content for name, (content, _, _) in GOOD.items()},
            **{f'{37 * i:03}_{name}': content for i, (name, content) in enumerate(bad.items())},
        },
    )


def bad_files() -> dict[str, bytes]:
    contents = {name: content for name, (content, _) in BAD.items()}
    return contents | {name: b'no image' for name in MIXED}


def folder(root: Path, **kwargs):
    cfg = dict(
        type='ImageFolder', data_root=str(root), max_unreadable=0.05, pipeline=small_pipeline()
    )
    return DATASETS.build(cfg | kwargs)


def plain_list(batch: list) -> list:
    return batch


@pytest.fixture(scope='session')
def both_folders(good_images, tmp_path_factory):
    """With bad images, and with good ones under the same names."""
    root = tmp_path_factory.mktemp('images')
    write(root / 'bad', good_images, bad_files())
    write(root / 'clean', good_images, dict.fromkeys(bad_files(), encoded(PHOTO, 'PNG')))
    return root / 'bad', root / 'clean'


@pytest.mark.slow
def test_good_ones_are_unchanged(both_folders):
    """Bit by bit, in the main process and in workers."""
    bad, clean = map(folder, both_folders)
    assert len(bad) == len(clean) == 500 + len(GOOD) + len(bad_files())
    names = [
        [Path(d.get_data_info(i)['img_path']).name for i in range(len(d))] for d in (bad, clean)
    ]
    assert names[0] == names[1]
    wrong = {i for i, name in enumerate(names[0]) if name[4:] in bad_files()}
    expected = [Seeded(clean)[i]['inputs'] for i in range(len(clean))]
    found = [Seeded(bad)[i]['inputs'] for i in range(len(bad))]
    in_workers = DataLoader(
        Seeded(folder(both_folders[0])), batch_size=5, num_workers=2, collate_fn=plain_list
    )
    others = [item['inputs'] for batch in in_workers for item in batch]
    for i in range(len(bad)):
        # The replacements do not depend on who meets them.
        assert all(map(torch.equal, found[i], others[i]))
        same = all(map(torch.equal, found[i], expected[i]))
        assert same == (i not in wrong)
    assert {names[0].index(Path(p).name) for p in bad.unreadable} == wrong
    assert in_workers.dataset.data.unreadable == bad.unreadable


@pytest.mark.slow
def test_replacing_draws_nothing(both_folders):
    data = folder(both_folders[0], pipeline=small_pipeline()[:1])
    seed_sample(0)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    for i in range(len(data)):
        assert data[i]['img'].dtype == np.uint8
    assert data.num_unreadable == len(bad_files())
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert before == after
    assert data._report is None  # there is no run


@pytest.mark.slow
def test_labelled_data_stop(tmp_path):
    """As in the evaluation, with the path and what to do."""
    for kind in ('ImageNet1k', 'ImageNet100', 'TinyImageNet', 'ClassFolders'):
        kwargs = dict(data_prefix='train') if kind == 'ClassFolders' else dict(split='train')
        cfg = fake_data.make(dict(type=kind, **kwargs), tmp_path / kind)
        cfg['pipeline'] = [dict(type='CheckedLoadImageFromFile')]
        path = Path(DATASETS.build(cfg).get_data_info(3)['img_path'])
        path.unlink()
        path.symlink_to(tmp_path / 'gone')
        data = DATASETS.build(cfg)
        assert data.get_data_info(3)['img_path'] == str(path)
        with pytest.raises(OSError, match=': repair') as e:
            data[3]
        assert repr(str(path)) in str(e.value)
        data = DATASETS.build(cfg | dict(on_unreadable='skip'))
        assert data[3]['img'].shape[2] == 3
        assert data.unreadable == [str(path)]


@pytest.mark.slow
def test_every_pretraining_config_replaces():
    for name in (
        'folder',
        'imagenet',
        'imagenet_byol',
        'imagenet_simclr',
        'imagenet_multicrop',
        'imagenet100',
        'tiny_imagenet',
        'places365',
    ):
        cfg = recipe_on(name)
        data = cfg.train_dataloader.dataset
        kind = DATASETS.get(data.type)
        assert issubclass(kind, unreadable_images.ReplacesUnreadable)
        assert name == 'folder' or data.on_unreadable == 'skip'
        sets = cfg.get('eval_datasets', {}).values()
        for entry in (data, *sets):
            assert entry.pipeline[0].type == 'CheckedLoadImageFromFile'
        assert not any('on_unreadable' in entry for entry in sets)


def test_class_folders(tmp_path):
    cfg = dict(type='ClassFolders', data_root=str(tmp_path))
    lay(tmp_path, dict.fromkeys(('b/2.jpg', 'b/1.png', 'a/deep/3.jpg', 'a/x.txt', 'c/y.txt'), PNG))
    data = DATASETS.build(cfg)
    rows = [
        (info['img_path'], info['gt_label']) for info in map(data.get_data_info, range(len(data)))
    ]
    assert rows == [
        (f'{tmp_path}/{name}', label)
        for name, label in (('a/deep/3.jpg', 0), ('b/1.png', 1), ('b/2.jpg', 1))
    ]
    assert data.CLASSES == ('a', 'b', 'c')
    with pytest.raises(ValueError, match='3 folders for 2 classes'):
        DATASETS.build(cfg | dict(classes=['A', 'B']))
    # Such a folder would be numbered otherwise than in a split that lacks it.
    with pytest.raises(ValueError, match="3 folders for 3 classes, .* but 'c' is not: add it"):
        DATASETS.build(cfg | dict(classes=['a', 'b', 'C']))
    named = DATASETS.build(cfg | dict(classes=['first', 'second', 'third']))
    assert named.get_gt_labels().tolist() == [0, 1, 1]
    ordered = DATASETS.build(cfg | dict(classes=['d', 'c', 'b', 'a']))
    assert ordered.get_gt_labels().tolist() == [3, 2, 2]
    with pytest.raises(FileNotFoundError, match='no images .*\\.xyz'):
        DATASETS.build(cfg | dict(extensions=['.xyz']))


@pytest.mark.parametrize('folders', [[], ['empty']])
def test_images_in_no_class_folder(tmp_path, folders):
    lay(tmp_path, dict.fromkeys(('2.jpg', '1.png', 'x.txt'), PNG))
    for name in folders:
        (tmp_path / name).mkdir()
    message = (
        f'no class folders with images in {tmp_path}, where 2 images lie, such as 1.png: put those '
        'of each class into a folder, or take an ImageFolder, which needs no classes'
    )
    with pytest.raises(FileNotFoundError) as error:
        DATASETS.build(dict(type='ClassFolders', data_root=str(tmp_path)))
    assert str(error.value) == message


def test_reasons():
    assert unreadable_images.reason(ValueError('two\n\tlines ')) == 'two lines'
    assert unreadable_images.reason(MemoryError()) == 'MemoryError'
    error = unreadable_images.cannot_read('x.jpg', FileNotFoundError(2, 'gone', 'x'))
    assert str(error) == ("cannot read image 'x.jpg' (gone): repair, replace or delete it")


def report_all(file: Path) -> None:
    for i in range(100):
        unreadable_images.report(file, f'/images/{i}.png', 'why')


def test_report_of_many_processes(tmp_path):
    """Four that find the same images at once."""
    file = tmp_path / 'bad_images.txt'
    with multiprocessing.get_context('fork').Pool(4) as pool:
        pool.map(report_all, [file] * 4, chunksize=1)
    lines = file.read_text().splitlines()
    assert sorted(lines) == sorted(f"'/images/{i}.png'\twhy" for i in range(100))


def test_report_that_cannot_be_written(tmp_path, monkeypatch):
    """It is no reason to stop."""
    said = []
    monkeypatch.setattr(unreadable_images, 'warn', said.append)
    unreadable_images.report(tmp_path / 'gone/bad_images.txt', 'x.jpg', 'why')
    assert len(said) == 1 and f'cannot write {tmp_path}/gone' in said[0]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train on a folder by the command; the log and the lines of the file."""

    def run(root: Path, *args: str, **options) -> tuple[str, list]:
        cfg = recipe_on('digits')
        data = recipe_on('folder')
        cfg.data_preprocessor = data.data_preprocessor
        workers = options.pop('workers', 0)
        cfg.train_dataloader = data.train_dataloader
        cfg.train_dataloader.update(
            batch_size=60, num_workers=workers, persistent_workers=workers > 0, drop_last=False
        )
        cfg.train_dataloader.dataset.update(
            data_root=str(root), pipeline=small_pipeline(), **options
        )
        cfg.model.backbone.update(in_channels=3, stem_channels=8, base_channels=8)
        cfg.model.neck.in_channels = 32
        cfg.custom_hooks, cfg.param_scheduler = [], []
        cfg.eval_datasets = None
        cfg.default_hooks.checkpoint.interval = 1
        cfg.dump(tmp_path / 'config.py')
        work_dir = tmp_path / 'run'
        monkeypatch.setattr(
            sys,
            'argv',
            ['train.py', str(tmp_path / 'config.py'), '--work-dir', str(work_dir), *args],
        )
        try:
            train.main()
        finally:
            newest = max(work_dir.glob('*/*.log'))
            file = work_dir / 'bad_images.txt'
            lines = file.read_text().splitlines() if file.exists() else []
            run.log = newest.read_text()
            run.lines = [tuple(line.split('\t')) for line in lines]

    return run


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_training_goes_on(workers, run, good_images, tmp_path, monkeypatch):
    root = tmp_path / 'images'
    write(root, good_images, bad_files())
    (root / '200_vanishing.jpg').write_bytes(JPEG)
    (root / '300_lost.jpg').symlink_to(tmp_path / 'gone.jpg')
    build = train.Runner.build_dataloader

    def and_vanish(*args, **kwargs):
        loader = build(*args, **kwargs)
        (root / '200_vanishing.jpg').unlink(missing_ok=True)
        return loader

    monkeypatch.setattr(train.Runner, 'build_dataloader', staticmethod(and_vanish))
    run(root, '--cfg-options', 'train_cfg.max_epochs=1', workers=workers, max_unreadable=0.05)
    expected = {
        f'{37 * i:03}_{name}': BAD.get(name, (b'', 'known format'))[1]
        for i, name in enumerate(bad_files())
    }
    expected |= {'200_vanishing.jpg': 'No such file', '300_lost.jpg': 'No such file'}
    size = 500 + len(GOOD) + len(expected)
    lines = run.lines
    found = {Path(ast.literal_eval(name)).name: why for name, why in lines}
    assert len(lines) == len(found) == len(expected)
    assert set(found) == set(expected)
    assert all(expected[name] in why for name, why in found.items())
    assert {Path(ast.literal_eval(name)).parent for name, _ in lines} == {root}
    said = f'{len(expected)} of {size} images were unreadable, see {tmp_path}/run/bad_images.txt'
    assert run.log.count(said) == 1
    assert run.log.count('using another one') == len(expected)
    # Once each, also over starts; new ones are added.
    if workers:
        return
    (root / '001.png').write_bytes(b'')
    (root / '200_vanishing.jpg').write_bytes(JPEG)
    run(root, '--resume', '--cfg-options', 'train_cfg.max_epochs=2', max_unreadable=0.05)
    assert 'Epoch(train) [2]' in run.log and 'resumed' in run.log
    assert run.lines == [*lines, (repr(str(root / '001.png')), 'the file is empty')]


def empty_ones(good_images, step):
    """600 images, every so many of them empty."""
    return {f'{i:03}.png': good_images[i % 500] if i % step else b'' for i in range(600)}


@pytest.mark.slow
def test_training_stops(run, good_images, tmp_path):
    """Above 1 %, with the count, the share and the file."""
    root = tmp_path / 'images'
    lay(root, empty_ones(good_images, 80))
    with pytest.raises(SystemExit) as e:
        run(root)
    text = str(e.value)
    assert (
        text.startswith(
            'error: 7 of 600 images are unreadable (1.17%), more than '
            'max_unreadable=0.01 allows; repair or delete them, see '
            f'{tmp_path}/run/bad_images.txt; the last: '
        )
        and '\n' not in text
    )
    names = [Path(ast.literal_eval(name)).name for name, _ in run.lines]
    assert len(names) == 7 and set(names) <= {f'{i:03}.png' for i in range(0, 600, 80)}
    assert names[-1] in text


@pytest.mark.slow
def test_no_more_than_tolerated(run, good_images, tmp_path):
    """Six of 600 are 1 %, not more."""
    root = tmp_path / 'images'
    lay(root, empty_ones(good_images, 100))
    run(root, '--cfg-options', 'train_cfg.max_epochs=1')
    assert len(run.lines) == 6 and '6 of 600 images were' in run.log


def rank_work(root: Path, rank: int, world: int):
    """Each rank reads its half of the images, then an epoch ends."""
    from types import SimpleNamespace

    init_default_scope('mmpretrain')
    # The log of a run, which knows its file on every rank.
    log = MMLogger.get_instance('ranks', log_file=str(root / 'run/time/time.log'))
    data = folder(root / 'images', pipeline=small_pipeline()[:1], max_unreadable=0.2)
    for i in range(rank, len(data), world):
        data[i]
    before = data.num_unreadable
    loader = SimpleNamespace(dataset=SimpleNamespace(datasets=[data]))
    runner = SimpleNamespace(train_dataloader=loader, logger=log)
    BadImagesHook().after_train_epoch(runner)
    data.max_unreadable = 0.0
    try:
        BadImagesHook().after_train_epoch(runner)
        error = ''
    except OSError as e:
        error = str(e)
    return before, data.num_unreadable, error


@pytest.mark.slow
def test_ranks_tell_each_other(tmp_path, good_images):
    (tmp_path / 'run/time').mkdir(parents=True)
    (tmp_path / 'images').mkdir()
    for i in range(100):
        (tmp_path / f'images/{i:03}.png').write_bytes(good_images[i] if i % 10 and i % 25 else b'')
    results = on_ranks(partial(rank_work, tmp_path), 2, tmp_path)
    # 0, 10, ..., 90 and 50 again; 25 and 75 are of the second rank.
    assert sum(before for before, _, _ in results) >= 12
    assert results[1][0] < 12
    for _, after, error in results:
        assert after == 12
        assert error.startswith('12 of 100 images are unreadable (12.00%)')
    lines = (tmp_path / 'run/bad_images.txt').read_text().splitlines()
    assert len(lines) == len(set(lines)) == 12
    text = (tmp_path / 'run/time/time.log').read_text()
    assert '12 of 100 images were unreadable, see ' in text


def test_a_wrapper_shows_each_data_set_once(both_folders):
    both = ConcatDataset([folder(path, pipeline=small_pipeline()[:1]) for path in both_folders])
    assert len([*replacing(SeededDataset(both))]) == 2
