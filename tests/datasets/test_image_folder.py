"""Images in a folder without labels, some of them unreadable."""

import io
import logging
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from messages import one_line
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mmentropy.datasets import ClassFolders, ImageFolder
from mmentropy.datasets.image_folder import EXTENSIONS

LOAD = [dict(type='LoadImageFromFile', imdecode_backend='pillow')]


@pytest.fixture(autouse=True)
def _scope_without_network(monkeypatch):
    init_default_scope('mmpretrain')

    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', no_network)


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.RandomState(seed).randint(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(array).save(path)


def names(dataset: ImageFolder, root: Path) -> list:
    return [
        str(Path(dataset.get_data_info(i)['img_path']).relative_to(root))
        for i in range(len(dataset))
    ]


@pytest.mark.slow
def test_folder_finds_images(tmp_path):
    root, other = tmp_path / 'root', tmp_path / 'other'
    found = ['UPPER.JPG', 'a.png', 'deep/er/b.jpeg', 'deep/c.webp']
    for name in found + ['.hidden.png', '.cache/d.png', 'deep/.e/f.png']:
        save(root / name)
    save(other / 'g.png')
    (root / 'notes.txt').write_text('no image')
    (root / 'link').symlink_to(other)
    (root / 'h.png').symlink_to(other / 'g.png')
    (root / 'broken.png').symlink_to(other / 'gone.png')
    dataset = ImageFolder(str(root), pipeline=LOAD)
    assert names(dataset, root) == sorted(found + ['broken.png', 'h.png', 'link/g.png'])
    for i in range(len(dataset)):
        assert dataset[i]['img'].shape == (24, 24, 3)
        assert 'gt_label' not in dataset[i]
    assert dataset.unreadable == [str(root / 'broken.png')]
    assert len(ImageFolder(str(root), indices=2)) == 2
    assert names(ImageFolder(str(root), extensions=['.JPG']), root) == ['UPPER.JPG']


def test_class_folders_hold_the_images_of_an_image_folder(tmp_path):
    for ending in EXTENSIONS:
        path = tmp_path / 'a' / f'image{ending}'
        save(path)
    load = [dict(type='CheckedLoadImageFromFile')]
    found = ClassFolders(data_root=str(tmp_path), pipeline=load)
    assert names(found, tmp_path) == names(ImageFolder(str(tmp_path)), tmp_path)
    assert len(found) == len(EXTENSIONS)
    assert all(found[i]['img'].shape == (24, 24, 3) for i in range(len(found)))


def test_folder_missing_or_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match='set data_root') as e:
        ImageFolder(str(tmp_path / 'gone'))
    assert str(tmp_path / 'gone') in one_line(e)
    (tmp_path / 'a.txt').write_text('no image')
    with pytest.raises(FileNotFoundError, match='set data_root') as e:
        ImageFolder(str(tmp_path))
    text = one_line(e)
    for part in (str(tmp_path), '.jpg', '.webp', 'extensions'):
        assert part in text


@pytest.mark.parametrize(
    'argument', [dict(on_unreadable='ignore'), dict(max_unreadable=-0.1), dict(max_unreadable=1.1)]
)
def test_folder_wrong_argument(argument, tmp_path):
    save(tmp_path / 'a.png')
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=name) as e:
        ImageFolder(str(tmp_path), **argument)
    assert repr(value) in one_line(e)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    array = np.random.RandomState(0).randint(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(array).save(buffer, 'JPEG')
    return buffer.getvalue()


BAD = {
    'zero.jpg': b'',
    'text.jpg': b'<html>not found</html>',
    'cut.jpg': jpeg()[:-200],
    'half.jpg': jpeg()[:1000],
    'corrupt.jpg': bytes(200) + jpeg()[200:],
}


@pytest.fixture
def bad_folder(tmp_path):
    """Eight good images and five bad ones."""
    for i in range(8):
        save(tmp_path / f'good{i}.png', i)
    for name, content in BAD.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def warnings():
    """Texts of the warnings that the current logger gets."""
    texts = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)


def test_folder_skips_unreadable(bad_folder, warnings):
    def pixels(order):
        dataset = ImageFolder(str(bad_folder), pipeline=LOAD)
        images = {i: dataset[i]['img'] for i in order}
        assert dataset.num_unreadable == len(BAD)
        assert {Path(p).name for p in dataset.unreadable} == set(BAD)
        # Met again, they are neither read nor reported nor counted again.
        for i in order:
            assert (dataset[i]['img'] == images[i]).all()
        assert dataset.num_unreadable == len(BAD)
        return images

    first = pixels(range(13))
    assert len(warnings) == len(BAD)
    for i, text in enumerate(warnings):
        assert f'{i + 1} of 13 unreadable' in text
        assert any(str(bad_folder / name) in text for name in BAD)
    # The replacement depends on the index alone.
    second = pixels(reversed(range(13)))
    assert all((first[i] == second[i]).all() for i in first)


def test_folder_loader_that_returns_none(bad_folder):
    dataset = ImageFolder(str(bad_folder), pipeline=[dict(LOAD[0], ignore_empty=True)])
    for i in range(13):
        dataset[i]
    assert dataset.num_unreadable == len(BAD)


def test_folder_stops(bad_folder):
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD, on_unreadable='stop')
    bad = names(dataset, bad_folder).index('zero.jpg')
    for _ in range(2):
        with pytest.raises(OSError, match='cannot read image') as e:
            dataset[bad]
        assert str(bad_folder / 'zero.jpg') in str(e.value)


def test_folder_too_many_unreadable(bad_folder):
    (bad_folder / 'sixth.jpg').write_bytes(b'')
    # Five bad files are tolerated whatever the share, the sixth is not.
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD)
    with pytest.raises(OSError, match='max_unreadable=0.01') as e:
        for i in range(len(dataset)):
            dataset[i]
    assert one_line(e).startswith('6 of 14 images are unreadable (42.86%), ')
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD, max_unreadable=0.5)
    for i in range(len(dataset)):
        dataset[i]
    assert dataset.num_unreadable == 6


@pytest.mark.parametrize('number', [1, 3])
def test_folder_all_unreadable(number, tmp_path):
    """The search for a good image ends, also when tried again."""
    for i in range(number):
        (tmp_path / f'{i}.png').write_bytes(b'')
    dataset = ImageFolder(str(tmp_path), pipeline=LOAD, max_unreadable=1.0)
    for i in list(range(number)) * 2:
        with pytest.raises(OSError, match=f'{number} of {number} images'):
            dataset[i]


def test_folder_error_of_other_transform(tmp_path):
    """A bug in the augmentation is not taken for a bad image."""
    save(tmp_path / 'a.png')
    pipeline = LOAD + [lambda results: results['no such key']]
    dataset = ImageFolder(str(tmp_path), pipeline=pipeline)
    with pytest.raises(KeyError, match='no such key'):
        dataset[0]
    assert dataset.num_unreadable == 0


def first_pixel(samples: list) -> list:
    return [int(s['img'][0, 0, 0]) for s in samples]


def test_folder_counts_in_workers(bad_folder):
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD)
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=first_pixel)
    seen = sum(loader, [])
    assert len(seen) == 13
    assert dataset.num_unreadable == len(BAD)
    assert {Path(p).name for p in dataset.unreadable} == set(BAD)
