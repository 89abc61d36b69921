"""Bad images among good ones: what is read, what is replaced, what is said."""

import ast
import io
import multiprocessing
import os
import random
import struct
import sys
import zlib
from pathlib import Path

import cv2
import fake_data
import numpy as np
import pytest
import torch
import train
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, TRANSFORMS
from PIL import Image
from ranks import on_ranks
from repository import REPOSITORY
from torch.utils.data import DataLoader, Dataset

from mmentropy.datasets import bad_images
from mmentropy.datasets.bad_images import BadImagesHook

CONFIGS = REPOSITORY / 'configs'


@pytest.fixture(autouse=True)
def _own_run(monkeypatch):
    """No run but those of the test."""
    init_default_scope('mmpretrain')
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())


# The kinds of images, all of the same 60 x 40 pixels.

RAMP = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) * 2
RGB = np.stack([RAMP, 255 - RAMP, RAMP // 2], -1)
GRAY = np.stack([RAMP] * 3, -1)
PHOTO = Image.fromarray(RGB)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_opencv(suffix: str, array: np.ndarray) -> bytes:
    return cv2.imencode(suffix, array[..., ::-1] if array.ndim == 3 else array)[1].tobytes()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    return exif


def bomb(width: int, height: int) -> bytes:
    """A PNG of a kilobyte that says it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(10**6)))
        + chunk(b'IEND', b'')
    )


def thumbnailed() -> bytes:
    """A JPEG with a whole JPEG inside of its head."""
    inner = encoded(PHOTO.resize((6, 4)), 'JPEG')
    assert inner.endswith(b'\xff\xd9')
    segment = b'Exif\0\0' + inner
    photo = encoded(PHOTO, 'JPEG', quality=95)
    return photo[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + photo[2:]


# Of 16 bits: those pixels, and others below.
WIDE = 256 * RGB.astype(np.uint16) + RGB[::-1]
# Content, what to see, how far off it may be.
GOOD = {
    'rgb.png': (encoded(PHOTO, 'PNG'), RGB, 0),
    'rgb.webp': (encoded(PHOTO, 'WEBP', lossless=True), RGB, 0),
    'rgb.ppm': (encoded(PHOTO, 'PPM'), RGB, 0),
    'jpeg_named.png': (encoded(PHOTO, 'JPEG', quality=95), RGB, 2),
    'progressive.jpg': (encoded(PHOTO, 'JPEG', quality=95, progressive=True), RGB, 2),
    'thumbnail.jpg': (thumbnailed(), RGB, 2),
    'junk_behind.jpg': (encoded(PHOTO, 'JPEG', quality=95) + b'junk' * 99, RGB, 2),
    'pixel.png': (encoded(PHOTO.crop((7, 9, 8, 10)), 'PNG'), RGB[9:10, 7:8], 0),
    'pixel.jpg': (encoded(PHOTO.crop((7, 9, 8, 10)), 'JPEG'), RGB[9:10, 7:8], 3),
    'row.png': (encoded(PHOTO.crop((0, 0, 60, 1)), 'PNG'), RGB[:1], 0),
    'gray.png': (encoded(Image.fromarray(RAMP), 'PNG'), GRAY, 0),
    'gray.jpg': (encoded(Image.fromarray(RAMP), 'JPEG', quality=95), GRAY, 2),
    'rgba.png': (encoded(PHOTO.convert('RGBA'), 'PNG'), RGB, 0),
    'gray_alpha.png': (encoded(Image.fromarray(RAMP).convert('LA'), 'PNG'), GRAY, 0),
    'palette.png': (encoded(PHOTO.quantize(256), 'PNG'), RGB, 6),
    'cmyk.jpg': (encoded(PHOTO.convert('CMYK'), 'JPEG', quality=95), RGB, 3),
    'cmyk.tif': (encoded(PHOTO.convert('CMYK'), 'TIFF'), RGB, 1),
    'wide.png': (by_opencv('.png', WIDE), RGB, 1),
    'wide.ppm': (by_opencv('.ppm', WIDE), RGB, 1),
    'wide_gray.png': (by_opencv('.png', WIDE[..., 0]), GRAY, 1),
    'wide_gray.tif': (by_opencv('.tif', WIDE[..., 0]), GRAY, 1),
    'wide_gray.pgm': (by_opencv('.pgm', WIDE[..., 0]), GRAY, 1),
    'exif.jpg': (encoded(PHOTO, 'JPEG', quality=95, exif=turned()), np.rot90(RGB, -1), 2),
    'exif.png': (encoded(PHOTO, 'PNG', exif=turned()), np.rot90(RGB, -1), 0),
}
JPEG = encoded(PHOTO, 'JPEG', quality=95)
PNG = GOOD['rgb.png'][0]
# Content and, in part, the reason that is reported.
BAD = {
    'empty.jpg': (b'', 'the file is empty'),
    'text.jpg': (b'<html>\nnot\tfound</html>', 'known format'),
    'header.jpg': (JPEG[:20], ''),
    'half.jpg': (JPEG[:-99], 'truncated'),
    'no_end.jpg': (JPEG[:-2], 'truncated'),
    'cut_thumbnail.jpg': (thumbnailed()[:-50], 'truncated'),
    'corrupt.jpg': (bytes(200) + JPEG[200:], 'known format'),
    'half.png': (PNG[: len(PNG) // 2], ''),
    'half.webp': (GOOD['rgb.webp'][0][:-40], ''),
    'half.ppm': (GOOD['rgb.ppm'][0][:-999], ''),
    'bomb.png': (bomb(20_000, 20_000), 'exceeds limit'),
    'float.tif': (by_opencv('.tif', RAMP.astype(np.float32)), '32 bits'),
}
MIXED = np.array(
    [
        'tab\tand line\nbreak.jpg',
        'spaces in  it.jpg',
        'Grüße 图片 🙂.jpg',
        os.fsdecode(b'latin \xfc\xff.jpg'),
        'quote \' and ".jpg',
        'back\\slash.jpg',
    ]
)


def loaders(**kwargs) -> list:
    """All loaders of our configs; the last one reduces these images."""
    cfgs = [
        dict(type='CheckedLoadImageFromFile', imdecode_backend=backend)
        for backend in ('cv2', 'pillow')
    ]
    cfgs += [
        dict(cfg, type='ReducedLoadImageFromFile', size=size) for cfg in cfgs for size in (224, 4)
    ]
    return [TRANSFORMS.build(dict(cfg, **kwargs)) for cfg in cfgs]


# Loading


@pytest.mark.parametrize('name', GOOD)
def test_good_images(name, tmp_path):
    content, expected, error = GOOD[name]
    (tmp_path / name).write_bytes(content)
    for load in loaders():
        results = load(dict(img_path=str(tmp_path / name)))
        image = results['img']
        assert image.dtype == np.uint8 and image.shape[2] == 3
        assert results['img_shape'] == image.shape[:2]
        if image.shape == expected.shape:
            off = np.abs(image[..., ::-1].astype(int) - expected)
        else:  # reduced, from the 4 x 4 pixels that are needed
            assert getattr(load, 'needed', 1e9) < 300 and name != 'pixel.jpg'
            small = cv2.resize(expected, image.shape[1::-1], interpolation=cv2.INTER_AREA)
            off = np.abs(image[..., ::-1].astype(int) - small)
            error = max(error, 8)
        assert off.mean() <= error, load.imdecode_backend


@pytest.mark.parametrize('name', BAD)
def test_bad_images_raise(name, tmp_path):
    content, why = BAD[name]
    path = str(tmp_path / name)
    Path(path).write_bytes(content)
    for load in loaders():
        with pytest.raises(OSError, match='cannot read image ') as e:
            load(dict(img_path=path))
        text = str(e.value)
        assert repr(path) in text and why in text and '\n' not in text
        assert text.endswith(': repair, replace or delete it')
        assert '0x' not in text  # no address of an object


def test_missing_files_raise(tmp_path):
    for load in loaders():
        with pytest.raises(OSError, match='No such file .*: repair') as e:
            load(dict(img_path=f'{tmp_path}/new\nline.png'))
        assert '\n' not in str(e.value)
        with pytest.raises(OSError, match='directory'):
            load(dict(img_path=str(tmp_path)))


@pytest.mark.parametrize('name', ['bomb.png', 'bomb.jpg', 'bomb.tif'])
def test_bombs_are_not_decoded(name, tmp_path, monkeypatch):
    """20,000 x 10,000 pixels; 13,377 x 13,377 are not too many."""
    path = tmp_path / name
    if name == 'bomb.png':
        small, large = bomb(13_377, 13_377), bomb(20_000, 10_000)
    else:
        kind = dict(jpg='JPEG', tif='TIFF')[name[-3:]]
        file = encoded(PHOTO, kind)
        if kind == 'JPEG':
            at = file.index(b'\xff\xc0') + 5
            small, large = (
                file[:at] + struct.pack('>HH', *size) + file[at + 4 :]
                for size in ((13_377, 13_377), (10_000, 20_000))
            )
        else:

            def sized(width, height):
                from PIL.TiffImagePlugin import ImageFileDirectory_v2

                tags = ImageFileDirectory_v2()
                tags[256], tags[257] = width, height
                image = PHOTO.copy()
                content = bytearray(encoded(image, 'TIFF'))
                with Image.open(io.BytesIO(content)) as tif:
                    start = tif.tag_v2._offset
                count = struct.unpack('<H', content[start : start + 2])[0]
                for i in range(count):
                    at = start + 2 + 12 * i
                    tag = struct.unpack('<H', content[at : at + 2])[0]
                    if tag in (256, 257):
                        value = width if tag == 256 else height
                        content[at + 2 : at + 12] = struct.pack('<HII', 4, 1, value)
                return bytes(content)

            small, large = sized(13_377, 13_377), sized(20_000, 10_000)

    def decoder(*args, **kwargs):
        raise OSError('decoded')

    monkeypatch.setattr('mmcv.imfrombytes', decoder)
    for load in loaders()[:2]:
        path.write_bytes(small)
        with pytest.warns(Image.DecompressionBombWarning):
            with pytest.raises(OSError, match='decoded'):
                load(dict(img_path=str(path)))
        path.write_bytes(large)
        with pytest.raises(OSError, match='200000000 pixels.* exceeds limit'):
            load(dict(img_path=str(path)))


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
    return {
        name: Config.fromfile(CONFIGS / f'_base_/datasets/{name}.py').train_dataloader.dataset
        for name in names
    }


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


# Data sets


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


def lay(root: Path, files: dict[str, bytes]) -> None:
    """Write files by their paths below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


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
        cfg = Config.fromfile(CONFIGS / f'_base_/datasets/{name}.py')
        data = cfg.train_dataloader.dataset
        kind = DATASETS.get(data.type)
        assert issubclass(kind, bad_images.ReplacesUnreadable)
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
        DATASETS.build(cfg | dict(classes=['a', 'b']))
    with pytest.raises(FileNotFoundError, match='no images .*\\.xyz'):
        DATASETS.build(cfg | dict(extensions=['.xyz']))


# Listing


def test_listing(tmp_path, monkeypatch):
    root = tmp_path / 'root'
    names = {*map(str, MIXED), 'deep/er/a.jpg', 'folder.jpg/b.jpg'}
    lay(root, dict.fromkeys(names | {'.hidden/c.jpg', 'deep/.d.jpg'}, PNG))
    links = {
        'lost.jpg': tmp_path / 'gone.jpg',
        'itself.jpg': root / 'itself.jpg',
        'circle': root,
        'device.jpg': '/dev/zero',
        'lost folder': tmp_path / 'unmounted',
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / 'pipe.jpg')
    said = []
    monkeypatch.setattr(bad_images, 'print_log', lambda text, **kwargs: said.append(text))
    found = bad_images.list_files(str(root))
    assert found == sorted(names | {'lost.jpg', 'itself.jpg', 'lost folder'})
    assert len(said) == 1 and repr(str(root / 'lost folder')) in said[0]
    assert bad_images.list_folders(str(root)) == ['circle', 'deep', 'folder.jpg']
    assert len(said) == 2
    data = folder(root)
    assert len(data) == len(names) + 2
    assert [data[i] for i in range(len(data))] and data.num_unreadable == 2


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    """Root may list any folder, so the system call has to be replaced."""
    (tmp_path / 'a/locked').mkdir(parents=True)
    (tmp_path / 'a/1.png').write_bytes(PNG)
    scandir = os.scandir

    def locked(path):
        if str(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', locked)
    for kind in ('ImageFolder', 'ClassFolders'):
        with pytest.raises(OSError, match='make it readable') as e:
            DATASETS.build(dict(type=kind, data_root=str(tmp_path)))
        assert f"'{tmp_path}/a/locked' (Permission denied)" in str(e.value)
    with pytest.raises(FileNotFoundError, match='set data_root'):
        folder(tmp_path / 'a/1.png')


# The report


def test_reasons():
    assert bad_images.reason(ValueError('two\n\tlines ')) == 'two lines'
    assert bad_images.reason(MemoryError()) == 'MemoryError'
    error = bad_images.cannot_read('x.jpg', FileNotFoundError(2, 'gone', 'x'))
    assert str(error) == ("cannot read image 'x.jpg' (gone): repair, replace or delete it")


def report_all(file: Path) -> None:
    for i in range(100):
        bad_images.report(file, f'/images/{i}.png', 'why')


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
    monkeypatch.setattr(bad_images, 'print_log', lambda text, **kwargs: said.append(text))
    bad_images.report(tmp_path / 'gone/bad_images.txt', 'x.jpg', 'why')
    assert len(said) == 1 and f'cannot write {tmp_path}/gone' in said[0]


# Runs


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train on a folder by the command; the log and the lines of the file."""

    def run(root: Path, *args: str, **options) -> tuple[str, list]:
        cfg = Config.fromfile(CONFIGS / 'mec/r18s_1xb64_50e_digits.py')
        data = Config.fromfile(CONFIGS / '_base_/datasets/folder.py')
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


def test_training_stops(run, good_images, tmp_path):
    """Above 1 %, with the count, the share and the file."""
    root = tmp_path / 'images'
    lay(root, empty_ones(good_images, 80))
    with pytest.raises(OSError) as e:
        run(root)
    text = str(e.value)
    assert (
        text.startswith(
            '7 of 600 images are unreadable (1.17%), more than '
            'max_unreadable=0.01 allows; repair or delete them, see '
            f'{tmp_path}/run/bad_images.txt; the last: '
        )
        and '\n' not in text
    )
    names = [Path(ast.literal_eval(name)).name for name, _ in run.lines]
    assert len(names) == 7 and set(names) <= {f'{i:03}.png' for i in range(0, 600, 80)}
    assert names[-1] in text


def test_no_more_than_tolerated(run, good_images, tmp_path):
    """Six of 600 are 1 %, not more."""
    root = tmp_path / 'images'
    lay(root, empty_ones(good_images, 100))
    run(root, '--cfg-options', 'train_cfg.max_epochs=1')
    assert len(run.lines) == 6 and '6 of 600 images were' in run.log


# Ranks


def rank_work(rank: int, world: int):
    """Each rank reads its half of the images, then an epoch ends."""
    from types import SimpleNamespace

    init_default_scope('mmpretrain')
    root = Path(os.environ['BAD_IMAGES'])
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


def test_ranks_tell_each_other(tmp_path, monkeypatch, good_images):
    (tmp_path / 'run/time').mkdir(parents=True)
    (tmp_path / 'images').mkdir()
    for i in range(100):
        (tmp_path / f'images/{i:03}.png').write_bytes(good_images[i] if i % 10 and i % 25 else b'')
    monkeypatch.setenv('BAD_IMAGES', str(tmp_path))
    results = on_ranks(rank_work, 2, tmp_path)
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
