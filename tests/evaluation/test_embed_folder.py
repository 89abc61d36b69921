"""Features of a folder of images without labels, and what is found in them."""

import base64
import csv
import io
import os
import subprocess
import sys
import tracemalloc
import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from forked import python
from messages import one_line
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from repository import REPOSITORY

from mmentropy.evaluation import build_backbone, embedding_file, file_encoder
from mmentropy.evaluation import embed_folder as folder_embedding
from mmentropy.evaluation.embed_folder import check_alike, embed_folder, thumbnail
from mmentropy.evaluation.embedding_file import read_embedding
from mmentropy.evaluation.file_encoder import checkpoint_encoder, named_encoder
from mmentropy.evaluation.neighbours import check_distinct, near_duplicates, nearest_rows
from mmentropy.evaluation.onnx_file import shape_of
from mmentropy.report import embedding_html, write_page
from mmentropy.report.unlabelled import of_embedding, of_folder
from mmentropy.weights.stored_config import config_of
from mmentropy.weights.zoo import CONFIGS

BACKBONE = dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def checkpoint(path, channels=3, pipeline=(), mean=100.0, **preprocessor):
    """A checkpoint that carries its config, with random weights."""
    cfg = Config(
        dict(
            model=dict(type='MEC', backbone=dict(BACKBONE, in_channels=channels)),
            data_preprocessor=dict(
                type='PerChannelPreprocessor',
                mean=[mean] * channels,
                std=[50.0] * channels,
                **preprocessor,
            ),
            train_dataloader=dict(dataset=dict(type='ImageFolder', pipeline=[*pipeline])),
        )
    )
    weights = {f'backbone.{k}': v for k, v in build_backbone(cfg).state_dict().items()}
    torch.save(dict(state_dict=weights, meta=dict(cfg=cfg.pretty_text)), path)
    return path


def photo_pipeline(size=16):
    crop = dict(type='RandomResizedCrop', scale=size)
    return [
        dict(type='CheckedLoadImageFromFile'),
        dict(type='MultiView', num_views=2, transforms=[[crop]]),
        dict(type='PackInputs'),
    ]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Seven photos of other sizes, the last two alike, and two files that are none."""
    root, rng = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    (root / 'b').mkdir()
    for i in range(6):
        image = rng.integers(0, 256, (16 + i, 24, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / f'{"b" if i % 2 else "."}/{i}.png')
    (root / 'b/6.png').write_bytes((root / 'b/5.png').read_bytes())
    (root / '1_bad.png').write_bytes(b'no image')
    (root / 'b/9_bad.jpg').write_bytes(b'')
    return root


def encoder_of(path, **kwargs):
    return checkpoint_encoder(path, config_of(path), **kwargs)


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('batch_size', [1, 3])
def test_features_are_those_of_each_file(photos, tmp_path, to_rgb, batch_size):
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline(), to_rgb=to_rgb)
    encoder = encoder_of(path)
    out = tmp_path / 'features.npz'
    bad = embed_folder(encoder, str(photos), out, batch_size, thumbnails=8)
    found = read_embedding(out)
    assert found.paths == [
        *('0.png', '2.png', '4.png', 'b/1.png', 'b/3.png', 'b/5.png', 'b/6.png'),
    ]
    assert [name for name, _ in bad] == ['1_bad.png', 'b/9_bad.jpg'] and bad[1][1]
    assert found.folder == str(photos) and found.features.dtype == np.float32
    assert found.thumbnails.shape == (7, 8, 8, 3)
    for row, name in enumerate(found.paths):
        rgb = Image.open(photos / name)
        # The short side is 16 after resizing, as in training, and the middle is taken.
        width, height = rgb.size
        scale = 16 / min(width, height)
        size = (max(16, int(width * scale + 0.5)), max(16, int(height * scale + 0.5)))
        pixels = encoder.pixels(str(photos / name))
        assert pixels.shape == (3, 16, 16) and size[1] == 16
        if height == 16:
            left = (width - 16) // 2
            middle = np.asarray(rgb)[:, left : left + 16]
            # Files are loaded as BGR, which to_rgb turns; without it the backbone is given BGR.
            assert np.array_equal(pixels.numpy(), middle[..., ::-1].transpose(2, 0, 1))
        expected = encoder.features(pixels[None])[0].numpy()
        np.testing.assert_allclose(found.features[row], expected, rtol=1e-4, atol=1e-5)
    rgb = np.asarray(Image.open(photos / '0.png'))[:, 4:20]
    mean = found.thumbnails[0].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(mean, rgb.reshape(-1, 3).mean(0), atol=2)
    assert not list(tmp_path.glob('.*'))


def test_features_are_those_of_preprocessed_pixels(tmp_path):
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline()))
    pixels = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        maps = encoder.backbone((pixels - 100.0) / 50)[-1]
    torch.testing.assert_close(encoder.features(pixels), maps.mean((2, 3)))


def test_the_network_has_the_weights_of_the_file(tmp_path):
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline())
    stored = torch.load(path, weights_only=True)
    # No initialisation draws these.
    stored['state_dict'] = {key: value + 1 for key, value in stored['state_dict'].items()}
    torch.save(stored, path)
    for key, value in encoder_of(path).backbone.state_dict().items():
        assert torch.equal(value, stored['state_dict'][f'backbone.{key}']), key


def test_bands_of_16_bits_and_gray(tmp_path):
    rng = np.random.default_rng(0)
    for kind, channels in (('unchanged', 8), ('grayscale', 1)):
        folder = tmp_path / kind
        folder.mkdir()
        for i in range(3):
            image = rng.integers(0, 9000, (20, 18 + i, 8), dtype=np.uint16)
            if channels == 8:
                layout = dict(photometric='minisblack', planarconfig='contig')
                tifffile.imwrite(folder / f'{i}.tif', image, **layout)
            else:
                Image.fromarray((image[..., 0] % 256).astype(np.uint8)).save(folder / f'{i}.png')
        pipeline = photo_pipeline()
        pipeline[0]['color_type'] = kind
        path = checkpoint(tmp_path / 'a.pth', channels, pipeline)
        out = tmp_path / f'{kind}.npz'
        assert embed_folder(encoder_of(path), str(folder), out, thumbnails=16) == []
        found = read_embedding(out)
        assert found.features.shape == (3, 64) and found.features.std(0).max() > 0
        assert found.thumbnails.reshape(3, -1).std(1).min() > 10


def test_a_mean_says_the_channels_of_a_backbone_that_does_not(tmp_path):
    """The two encoders of CMC on Digits have no in_channels, and no pipeline has a loader."""
    cfg = Config.fromfile(CONFIGS / 'baselines/cmc_r18s_1xb64_50e_digits.py')
    weights = {f'backbone.{k}': v for k, v in build_backbone(cfg).state_dict().items()}
    torch.save(dict(state_dict=weights, meta=dict(cfg=cfg.pretty_text)), tmp_path / 'a.pth')
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.png')
    encoder = encoder_of(tmp_path / 'a.pth')
    pixels = encoder.pixels(str(tmp_path / 'a.png'))
    assert encoder.features(pixels[None]).shape[0] == pixels.shape[0] == 1


def test_bands_that_tifffile_read(tmp_path):
    pipeline = photo_pipeline()
    pipeline[0] = dict(type='LoadImageFromFile', imdecode_backend='tifffile')
    image = np.random.default_rng(0).integers(0, 9000, (16, 16, 8), dtype=np.uint16)
    layout = dict(photometric='minisblack', planarconfig='contig')
    tifffile.imwrite(tmp_path / 'a.tif', image, **layout)
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', 8, pipeline))
    pixels = encoder.pixels(str(tmp_path / 'a.tif'))
    assert np.array_equal(pixels.numpy(), image.transpose(2, 0, 1))


@pytest.mark.parametrize('channels, shown', [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [2, 1, 0])])
def test_thumbnails_are_rgb(channels, shown):
    encoder = SimpleNamespace(bgr=True)
    pixels = torch.randint(256, (channels, 4, 4), dtype=torch.uint8)
    expected = pixels[shown].permute(1, 2, 0).numpy()
    assert np.array_equal(thumbnail(pixels, encoder, 4), expected)


def test_the_brightest_of_16_bits_is_white():
    pixels = torch.randint(9000, (8, 4, 4)).to(torch.uint16)
    pixels[7, 0, 0] = 9000
    expected = (pixels[:3].float() * (255 / 9000)).byte().permute(1, 2, 0).numpy()
    assert np.array_equal(thumbnail(pixels, SimpleNamespace(bgr=True), 4), expected)


LOAD, PACK = dict(type='CheckedLoadImageFromFile'), dict(type='PackInputs')


@pytest.mark.parametrize(
    'steps, side, columns',
    [
        # The larger side of the training view; the short edge is resized to it.
        ([], 12, (12, 36)),
        ([LOAD, PACK], 12, (12, 36)),
        ([LOAD, dict(type='Resize', scale=(10, 10)), PACK], 10, (0, 48)),
        ([LOAD, dict(type='CenterCrop', crop_size=10), PACK], 10, (19, 29)),
    ],
)
def test_the_size_is_that_of_the_config(tmp_path, steps, side, columns):
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline((8, 12)))
    cfg = config_of(path)
    cfg.eval_datasets = dict(test=dict(type='ImageFolder', pipeline=steps))
    ramp = np.tile(np.arange(48, dtype=np.uint8)[None, :, None], (24, 1, 3))
    Image.fromarray(ramp).save(tmp_path / 'a.png')
    pixels = checkpoint_encoder(path, cfg).pixels(str(tmp_path / 'a.png'))
    assert pixels.shape == (3, side, side)
    half = (columns[1] - columns[0]) / side / 2
    found = pixels[0, 0, [0, -1]].tolist()
    assert found == pytest.approx([columns[0] + half - 0.5, columns[1] - half - 0.5], abs=1)


@pytest.mark.parametrize('place', ['', 'model.'])
def test_the_size_is_that_of_views_made_in_batch(tmp_path, place):
    path = checkpoint(tmp_path / 'a.pth', pipeline=[LOAD])
    cfg = config_of(path)
    preprocessor = cfg.pop('data_preprocessor')
    in_batch = dict(preprocessor, type='BatchViews', pipeline=photo_pipeline(12)[1:2])
    cfg.merge_from_dict({f'{place}data_preprocessor': in_batch})
    assert checkpoint_encoder(path, cfg).size == 12


@pytest.mark.parametrize('scope', ['', 'mmpretrain.'])
def test_resizing_by_torchvision_is_that_of_the_config(tmp_path, scope):
    steps = [
        dict(LOAD, type=f'{scope}CheckedLoadImageFromFile'),
        dict(type=f'{scope}NumpyToPIL', to_rgb=True),
        dict(type=f'{scope}torchvision/Resize', size=20),
        dict(type=f'{scope}torchvision/CenterCrop', size=16),
        dict(type=f'{scope}PILToNumpy', to_bgr=True),
        PACK,
    ]
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline(12))
    cfg = config_of(path)
    cfg.test_dataloader = dict(dataset=dict(type='ImageFolder', pipeline=steps))
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.png')
    expected = Compose([TRANSFORMS.build(step) for step in steps])
    pixels = checkpoint_encoder(path, cfg).pixels(str(tmp_path / 'a.png'))
    assert torch.equal(pixels, expected(dict(img_path=str(tmp_path / 'a.png')))['inputs'])


@pytest.mark.parametrize('kind, channels', [('color', 3), ('grayscale', 1), ('unchanged', 6)])
def test_a_smaller_image_is_made_from_all_pixels(kind, channels, tmp_path):
    stripes = np.zeros((96, 120, channels), np.uint16 if kind == 'unchanged' else np.uint8)
    stripes[:, ::8] = 240
    if kind == 'unchanged':
        tifffile.imwrite(
            tmp_path / 'a.tif', stripes, photometric='minisblack', planarconfig='contig'
        )
    else:
        Image.fromarray(stripes.squeeze()).save(tmp_path / 'a.tif')
    pipeline = photo_pipeline(12)
    pipeline[0]['color_type'] = kind
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', channels, pipeline))
    pixels = encoder.pixels(str(tmp_path / 'a.tif'))
    assert pixels.shape == (channels, 12, 12)
    assert pixels.float().sub(30).abs().max() < 15


def test_what_is_left_out_of_the_test_pipeline_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(file_encoder, 'print_log', lambda text, **kwargs: said.append(text))
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline())
    cfg = config_of(path)
    shear = dict(type='Shear', magnitude=0.3)
    pipeline = [LOAD, dict(type='CenterCrop', crop_size=10), shear, PACK]
    cfg.eval_datasets = dict(test=dict(type='ImageFolder', pipeline=pipeline))
    checkpoint_encoder(path, cfg, size=8)
    assert not said
    checkpoint_encoder(path, cfg)
    assert len(said) == 1 and said[0].startswith('Shear of the test pipeline: left out')


@pytest.mark.parametrize('channels', [3, 4])
@pytest.mark.parametrize(
    'loader',
    [
        dict(type='LoadImageFromFile', color_type='unchanged'),
        dict(type='mmcv.LoadImageFromFile', color_type='unchanged', imdecode_backend='pillow'),
        dict(type='LoadImageFromFile', imdecode_backend='tifffile'),
        dict(type='CheckedLoadImageFromFile', color_type='unchanged'),
    ],
)
def test_colours_of_unchanged_files_are_those_of_training(tmp_path, loader, channels):
    tiff = loader.get('imdecode_backend') == 'tifffile'
    file = tmp_path / ('a.tif' if tiff else 'a.png')
    Image.new('RGBA', (16, 16), (200, 100, 0, 50)).convert(('RGB', 'RGBA')[channels - 3]).save(file)
    path = checkpoint(tmp_path / 'a.pth', channels, [loader, *photo_pipeline()[1:]])
    encoder = encoder_of(path)
    img = TRANSFORMS.build(loader)(dict(img_path=str(file)))['img']
    pixels = encoder.pixels(str(file))
    assert pixels[:, 0, 0].tolist() == img[0, 0].tolist()
    assert thumbnail(pixels, encoder, 4)[0, 0].tolist() == [200, 100, 0]


def test_a_network_of_colours_takes_files_of_all_kinds(tmp_path):
    """The shipped one was trained on RGB files as they are; others are made such images."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rgb = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (48, 40))
    photo = Image.fromarray(rgb)
    wide = rgb.astype(np.uint16) * 257
    photo.save(folder / 'rgb.png')
    photo.convert('RGBA').save(folder / 'rgba.png')
    photo.quantize(256).save(folder / 'palette.png')
    cv2.imwrite(str(folder / 'wide.png'), wide[..., ::-1])
    tifffile.imwrite(folder / 'wide.tif', wide, photometric='rgb')
    photo.convert('L').save(folder / 'gray.png')
    photo.convert('L').convert('RGB').save(folder / 'gray_rgb.png')
    # Three pages are bands, in which the first alone would be another image.
    tifffile.imwrite(folder / 'pages.tif', rgb.transpose(2, 0, 1), photometric='minisblack')
    path = CONFIGS / 'weights/mec_fast_r18s_1xb256_10e_cifar10.pth'
    bad = folder_embedding.embed_checkpoint(path, folder, tmp_path / 'a.npz')
    found = read_embedding(tmp_path / 'a.npz')
    rows = dict(zip(found.paths, found.features / np.linalg.norm(found.features, axis=1)[:, None]))
    assert not bad and rows['gray.png'] @ rows['gray_rgb.png'] > 0.9999
    assert rows['gray.png'] @ rows['rgb.png'] < 0.99
    for name in ('rgba.png', 'palette.png', 'wide.png', 'pages.tif'):
        assert rows[name] @ rows['rgb.png'] > 0.99, name


@pytest.mark.parametrize('channels', [1, 5])
def test_files_of_other_channels_are_named(channels, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for count in (1, 4, 5):
        image = rng.integers(0, 256, (20, 20, count), np.uint8)
        layout = dict(photometric='minisblack', planarconfig='contig')
        tifffile.imwrite(folder / f'{count}.tif', image.squeeze(), **layout if count > 1 else {})
    pipeline = photo_pipeline()
    pipeline[0]['color_type'] = 'unchanged'
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', channels, pipeline))
    bad = dict(embed_folder(encoder, str(folder), tmp_path / 'a.npz'))
    assert bad == {
        f'{count}.tif': f'its channels are {count}, but the network takes {channels}'
        for count in {1, 4, 5} - {channels}
    }


def test_what_differs_between_images_is_said():
    gray, rgb = torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 9, dtype=torch.uint8)
    check_alike([rgb, rgb])
    for images, message in (
        ([gray, rgb], 'images of 1 channels of 8 bits and of 3 channels of 8 bits: put'),
        ([rgb, rgb.to(torch.uint16)], 'of 3 channels of 16 bits and of 3 channels of 8 bits: put'),
        ([rgb, rgb[..., 1:]], r'different sizes \[\(8, 8\), \(8, 9\)\]: .*--size 224'),
    ):
        with pytest.raises(ValueError, match=message) as error:
            check_alike(images)
        assert one_line(error)


def test_elongated_images_have_no_row(photos, tmp_path, monkeypatch):
    """Resized by their short side they would take gigabytes, or more than OpenCV can have."""
    Image.new('RGB', (60000, 1)).save(photos / 'zz_line.png')
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline()))
    bad = dict(embed_folder(encoder, str(photos), tmp_path / 'a.npz'))
    assert bad['zz_line.png'] == 'its 60000 x 1 pixels are more elongated than 300 to 1'
    # An image that OpenCV refuses does not end the work on the others, either.
    monkeypatch.setattr(file_encoder, 'MOST_ELONGATED', 10**9)
    monkeypatch.setattr(encoder, 'transforms', FailsAtLines())
    bad = dict(embed_folder(encoder, str(photos), tmp_path / 'a.npz'))
    (photos / 'zz_line.png').unlink()
    assert bad['zz_line.png'] == 'OpenCV: too large' and len(bad) == 3
    assert len(read_embedding(tmp_path / 'a.npz').paths) == 7


class FailsAtLines:
    """Transforms by which OpenCV fails at images of one row."""

    transforms = (None,)

    def __call__(self, results):
        if results['img_shape'][0] == 1:
            raise cv2.error('OpenCV:\n too large')
        return dict(results, img=results['img'][:16, :16])


def test_arrays_tell_the_loader_by_their_channels(tmp_path):
    """A checkpoint of gray arrays, such as digits, takes files as gray."""
    path = checkpoint(tmp_path / 'a.pth', 1, [dict(type='PackInputs')])
    assert encoder_of(path).load.color_type == 'grayscale'
    path = checkpoint(tmp_path / 'a.pth', 3, [dict(type='PackInputs')])
    encoder = encoder_of(path)
    assert encoder.load.color_type == 'color' and not encoder.bgr
    Image.new('RGB', (16, 16), (200, 100, 0)).save(tmp_path / 'a.png')
    # Arrays of data sets are RGB.
    assert encoder.pixels(str(tmp_path / 'a.png'))[:, 0, 0].tolist() == [200, 100, 0]


@pytest.mark.parametrize('color_type', ['color', 'unchanged', None])
def test_one_mean_may_be_that_of_all_channels(photos, tmp_path, color_type):
    """None stands for a config of arrays, which has no loader."""
    load = dict(type='CheckedLoadImageFromFile', color_type=color_type)
    path = checkpoint(tmp_path / 'a.pth', 3, [load] * bool(color_type))
    cfg = config_of(path)
    expected = checkpoint_encoder(path, cfg, size=16)
    cfg.data_preprocessor.update(mean=[100.0], std=[50.0])
    encoder = checkpoint_encoder(path, cfg, size=16)
    assert shape_of(encoder, cfg) == (3, 16, 16)
    pixels = encoder.pixels(str(photos / '0.png'))[None]
    assert torch.equal(pixels, expected.pixels(str(photos / '0.png'))[None])
    assert torch.equal(encoder.features(pixels), expected.features(pixels))


def test_images_of_other_sizes_are_refused(photos, tmp_path):
    path = checkpoint(tmp_path / 'a.pth', 3, [dict(type='PackInputs')])
    with pytest.raises(ValueError, match='different sizes .*--size'):
        embed_folder(encoder_of(path), str(photos), tmp_path / 'a.npz')
    assert [item.name for item in tmp_path.iterdir()] == ['a.pth']
    assert embed_folder(encoder_of(path, size=16), str(photos), tmp_path / 'a.npz')


@pytest.mark.parametrize('name', ['resnet19_8xb32_in1k', 'resnet50'])
def test_names_that_are_not_known(name):
    with pytest.raises(ValueError, match=f'{name} is no file and no model of mmpretrain'):
        named_encoder(name)


def test_out_must_be_a_file_of_features(photos, tmp_path):
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline())
    with pytest.raises(ValueError, match=r'must end in .npz or .parquet'):
        embed_folder(encoder_of(path), str(photos), tmp_path / 'a.csv')
    for name, content in (('a.npz', b'no zip'), ('b.npz', None)):
        if content:
            (tmp_path / name).write_bytes(content)
        else:
            np.savez(tmp_path / name, features=np.zeros((2, 3)), paths=np.array(['a']), folder='')
        with pytest.raises(ValueError, match='holds no features'):
            read_embedding(tmp_path / name)
    arrays = dict(features=np.zeros((1, 3)), paths=np.array([{}]), folder='')
    np.savez(tmp_path / 'c.npz', **arrays)
    for name, why in (('a.npz', 'it is no .npz'), ('c.npz', 'none of numbers or text')):
        with pytest.raises(ValueError, match=rf'{name} holds no features .*{why}\)$'):
            read_embedding(tmp_path / name)
    with pytest.raises(FileNotFoundError, match='no file of features'):
        read_embedding(tmp_path / 'none.npz')


def test_parquet(photos, tmp_path):
    pytest.importorskip('pyarrow')
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline()))
    for suffix in ('npz', 'parquet'):
        embed_folder(encoder, str(photos), tmp_path / f'a.{suffix}', thumbnails=8)
    npz, parquet = (read_embedding(tmp_path / f'a.{suffix}') for suffix in ('npz', 'parquet'))
    assert npz.paths == parquet.paths and npz.folder == parquet.folder
    assert np.array_equal(npz.features, parquet.features)
    assert np.array_equal(npz.thumbnails, parquet.thumbnails)


@pytest.mark.parametrize('suffix', ['npz', 'parquet'])
def test_files_are_written_block_by_block(photos, tmp_path, monkeypatch, suffix):
    if suffix == 'parquet':
        pytest.importorskip('pyarrow')
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline()))
    found = []
    for block in (4096, 3):
        monkeypatch.setattr(embedding_file, 'BLOCK', block)
        embed_folder(encoder, str(photos), tmp_path / f'{block}.{suffix}', thumbnails=8)
        found.append(read_embedding(tmp_path / f'{block}.{suffix}'))
    whole, blocks = found
    assert whole.paths == blocks.paths and len(blocks.paths) == 7
    assert np.array_equal(whole.features, blocks.features)
    assert np.array_equal(whole.thumbnails, blocks.thumbnails)


def test_neighbours_by_brute_force(monkeypatch):
    monkeypatch.setattr('mmentropy.evaluation.neighbours.BLOCK', 7)
    rows = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    rows[20] = 3 * rows[4]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    best, found = nearest_rows(rows, rows[:5], 6)
    for row in range(5):
        expected = (-cosines[row]).argsort()[:6]
        np.testing.assert_allclose(best[row], cosines[row][expected], atol=1e-5)
        assert {*found[row].tolist()} == {*expected.tolist()}
    pairs = {(i, j) for _, i, j in near_duplicates(rows, 0.9)}
    assert pairs == {(i, j) for i in range(30) for j in range(i + 1, 30) if cosines[i, j] >= 0.9}
    assert (4, 20) in pairs


@pytest.mark.parametrize('width', [8, 128, 2048])
def test_images_that_are_the_same_have_cosine_one(width):
    """Up to rounding it may be below or above, which is neither missed nor shown."""
    rows = np.random.default_rng(0).standard_normal((100, width)).astype(np.float32)
    rows[50:] = rows[:50]
    pairs = [*near_duplicates(rows, 1.0)]
    assert sorted((i, j) for _, i, j in pairs) == [(i, i + 50) for i in range(50)]
    assert all(1 - 1e-6 <= cosine <= 1 for cosine, _, _ in pairs)
    assert nearest_rows(rows, rows, 2)[0].max() <= 1


def test_pairs_of_a_collapse_are_found_in_little_memory():
    """They are given one by one, and not listed before."""
    rows = np.ones((1500, 4), np.float32)
    tracemalloc.start()
    assert next(near_duplicates(rows, 0.5)) == (1, 0, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert len([*near_duplicates(rows[:100], 0.5)]) == 100 * 99 / 2


@pytest.mark.slow
def test_commands_on_two_processes(photos, tmp_path):
    """They write what one process writes, name what is bad, and show it."""
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline())
    embed = ['tools/embed.py', str(path), str(photos), '--batch-size', '2', '--out']
    done = python(*embed, tmp_path / 'one.npz', cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    options = [tmp_path / 'two.npz', '--launcher', 'pytorch', '--thumbnails', '8']
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(REPOSITORY))
    subprocess.run([*launch, *embed, *options], check=True, cwd=REPOSITORY, env=env)
    one, two = read_embedding(tmp_path / 'one.npz'), read_embedding(tmp_path / 'two.npz')
    assert one.paths == two.paths and one.thumbnails is None and len(two.thumbnails) == 7
    np.testing.assert_allclose(one.features, two.features, rtol=1e-4, atol=1e-5)
    for name in ('one', 'two'):
        bad = (tmp_path / f'{name}_bad_images.txt').read_text().splitlines()
        assert [line.split('\t')[0] for line in bad] == ["'1_bad.png'", "'b/9_bad.jpg'"]
    # Once they are gone, nothing is said of them.
    for name in ('1_bad.png', 'b/9_bad.jpg'):
        (photos / name).unlink()
    done = python(*embed, tmp_path / 'one.npz', cwd=REPOSITORY)
    assert done.returncode == 0 and not (tmp_path / 'one_bad_images.txt').exists()
    of = ['--of', photos / 'b/6.png', '-k', '1', '--duplicates', '0.9999']
    page = ['--page', tmp_path / 'map.html']
    done = python('tools/neighbours.py', tmp_path / 'two.npz', *of, *page, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    text = done.stdout.replace('Could not import OneDL\n', '')
    lines = [*csv.reader(io.StringIO(text), delimiter='\t')]
    assert lines[1:] == [
        ['b/6.png', 'b/5.png', '1.0000'],
        ['image', 'duplicate', 'cosine'],
        ['b/5.png', 'b/6.png', '1.0000'],
    ]
    page = (tmp_path / 'map.html').read_text()
    assert page.count('class="mark tile"') == 7


def test_the_folder_may_be_in_the_home(photos, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(photos.parent))
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline()))
    embed_folder(encoder, f'~/{photos.name}', tmp_path / 'a.npz')
    found = read_embedding(tmp_path / 'a.npz')
    assert found.folder == str(photos) and len(found.paths) == 7


def test_page_without_thumbnails_reads_the_files(photos, tmp_path):
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline()))
    embed_folder(encoder, str(photos), tmp_path / 'a.npz')
    page = embedding_html(of_embedding(read_embedding(tmp_path / 'a.npz'), 'a.npz'))
    assert '7 of 7 images without labels' in page and page.count('<img') == 7 + 7 * 7


def test_page_of_bands_needs_thumbnails(tmp_path):
    folder = tmp_path / 'bands'
    folder.mkdir()
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 2**16, (16, 16, 8), np.uint16)
        layout = dict(photometric='minisblack', planarconfig='contig')
        tifffile.imwrite(folder / f'{i}.tif', image, **layout)
    load = dict(type='CheckedLoadImageFromFile', color_type='unchanged')
    encoder = encoder_of(checkpoint(tmp_path / 'a.pth', 8, [load]))
    embed_folder(encoder, str(folder), tmp_path / 'a.npz')
    message = f'^{folder}/0.tif cannot be shown .*: embed again with --thumbnails 32$'
    with pytest.raises(OSError, match=message) as error:
        of_embedding(read_embedding(tmp_path / 'a.npz'), 'a.npz')
    assert one_line(error)
    embed_folder(encoder, str(folder), tmp_path / 'a.npz', thumbnails=32)
    assert of_embedding(read_embedding(tmp_path / 'a.npz'), 'a.npz').images == 3


def test_report_of_a_run_on_a_folder(photos, tmp_path):
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline(), to_rgb=True)
    cfg = config_of(path)
    cfg.train_dataloader.dataset.data_root = str(photos)
    found = of_folder(cfg, path)
    assert found.name == 'a.pth' and found.images == 7 and found.points.shape == (7, 2)
    assert [item.path for item in found.tiles][:2] == ['0.png', '2.png']
    # Two files are the same image.
    (twin,) = [row[1] for row in found.neighbours if row[0].path == 'b/5.png']
    assert twin.path == 'b/6.png' and twin.cosine == pytest.approx(1, abs=1e-5)
    png = base64.b64decode(found.tiles[0].picture.uri.split(',')[1])
    shown = np.asarray(Image.open(io.BytesIO(png))).reshape(-1, 3).mean(0)
    middle = np.asarray(Image.open(photos / '0.png'))[:, 4:20].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(shown, middle, atol=2)


@pytest.mark.parametrize(
    'value, message', [(1.0, 'all 5 images are next to the same'), (np.nan, 'are not finite')]
)
def test_features_that_tell_nothing_apart(value, message):
    with pytest.raises(ValueError, match=message):
        check_distinct(np.full((5, 4), value, np.float32))


def test_features_that_are_not_finite(photos, tmp_path):
    path = checkpoint(tmp_path / 'a.pth', pipeline=photo_pipeline())
    encoder = encoder_of(path)
    next(encoder.backbone.parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match='gives features that are not finite'):
        embed_folder(encoder, str(photos), tmp_path / 'features.npz')


HARMFUL = {
    'larger': (dict(features=np.zeros((4, 9999), '<f4')), 'larger than the file'),
    'whole numbers': (dict(features=np.zeros((4, 2), '<i4')), 'features are int32'),
    'fewer': (dict(features=np.zeros((3, 2), '<f4')), r'\(3, 2\), of 4 paths'),
    'thumbnails': (dict(thumbnails=np.zeros((2, 8, 8, 3), 'u1')), 'thumbnails are uint8'),
    'flat': (dict(thumbnails=np.zeros(4, 'u1')), 'thumbnails are uint8'),
    'wide': (dict(thumbnails=np.zeros((4, 8, 9, 3), 'u1')), 'thumbnails are uint8'),
}


@pytest.mark.parametrize('name', HARMFUL)
def test_parts_that_do_not_fit_are_refused(name, tmp_path):
    changes, message = HARMFUL[name]
    arrays = dict(features=np.zeros((4, 2), '<f4'), paths=np.array(['a'] * 4), folder=np.array('b'))
    save = np.savez_compressed if name == 'larger' else np.savez
    save(tmp_path / 'a.npz', **(arrays | changes))
    with pytest.raises(ValueError, match=f'a.npz holds no features of tools/embed.py .*{message}'):
        read_embedding(tmp_path / 'a.npz')


def test_an_array_larger_than_memory_is_refused(tmp_path):
    """The header of a small file can say any size."""
    with (
        zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive,
        archive.open('features.npy', 'w') as file,
    ):
        header = dict(descr='<f4', fortran_order=False, shape=(10**6, 10**6))
        np.lib.format.write_array_header_2_0(file, header)
    with pytest.raises(ValueError, match='holds no features'):
        read_embedding(tmp_path / 'a.npz')


@pytest.mark.parametrize('name', ['regnetx-1.6gf_8xb128_in1k', 'resnet18_8xb32_in1k'])
def test_names_of_models_may_have_dots(name, monkeypatch, photos, tmp_path):
    asked = []
    monkeypatch.setattr(folder_embedding, 'named_encoder', lambda *call: asked.append(call))
    with pytest.raises(AttributeError):
        folder_embedding.embed_checkpoint(name, photos, tmp_path / 'a.npz')
    assert asked == [(name, None)]


@pytest.mark.parametrize(
    'options, names',
    [
        (dict(cfg=Config(dict(model={}))), 'config'),
        (dict(branch='teacher', trust=True), 'branch and trust'),
    ],
)
def test_options_of_files_are_refused_for_a_named_model(options, names, photos, tmp_path):
    message = f'resnet18_8xb32_in1k is no file, and a model .*: leave {names} out'
    with pytest.raises(ValueError, match=message):
        folder_embedding.embed_checkpoint(
            'resnet18_8xb32_in1k', photos, tmp_path / 'a.npz', **options
        )


def test_names_that_are_not_unicode_are_escaped_on_a_page(tmp_path):
    write_page(tmp_path / 'a.html', '<p>caf\udce9.png</p>')
    assert (tmp_path / 'a.html').read_text() == '<p>caf\\udce9.png</p>'
