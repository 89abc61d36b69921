"""Backbones as ONNX."""

import copy
import json

import numpy as np
import pytest
import torch
from exported import BACKBONES, built, saved
from mmengine.config import Config
from PIL import Image

from mmentropy.evaluation import onnx_file
from mmentropy.evaluation.file_encoder import checkpoint_encoder
from mmentropy.evaluation.onnx_file import Encoder, export_onnx, properties, shape_of

CONFIG = Config(
    dict(
        model=dict(type='MEC', backbone=BACKBONES['r18s']),
        data_preprocessor=dict(
            type='PerChannelPreprocessor', mean=[90.0, 100, 110], std=[40.0, 50, 60], to_rgb=True
        ),
        train_dataloader=dict(
            dataset=dict(
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='RandomResizedCrop', scale=24),
                ]
            )
        ),
    )
)


RGB = np.random.default_rng(0).integers(0, 256, (5, 3, 24, 24), np.uint8)


@pytest.fixture
def weights(tmp_path):
    state = {f'backbone.{key}': value for key, value in built('r18s').state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


@pytest.fixture
def encoder(weights):
    return checkpoint_encoder(weights, CONFIG)


def config(**preprocessor):
    """The config with another preprocessor."""
    cfg = copy.deepcopy(CONFIG)
    cfg.data_preprocessor.update(preprocessor)
    return cfg


def embedded(encoder, folder):
    """Return the features of ``RGB``, each image by a file of its own, as ``embed`` gives them."""
    rows = []
    for image in RGB:
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / 'a.png')
        rows.append(encoder.features(encoder.pixels(str(folder / 'a.png'))[None])[0])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('color_type', ['color', 'unchanged'])
def test_images_are_rgb_whatever_the_network_is_given(weights, tmp_path, to_rgb, color_type):
    cfg = config(to_rgb=to_rgb)
    cfg.train_dataloader.dataset.pipeline[0] = dict(
        type='CheckedLoadImageFromFile', color_type=color_type
    )
    encoder = checkpoint_encoder(weights, cfg)
    network = Encoder(encoder).eval()
    with torch.no_grad():
        found = network(torch.from_numpy(RGB).float()).numpy()
    expected = embedded(encoder, tmp_path)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    said = properties(network, (3, 24, 24))
    given_bgr = to_rgb == (color_type == 'unchanged')
    assert json.loads(said['mean']) == ([110, 100, 90] if given_bgr else [90, 100, 110])
    assert json.loads(said['std']) == ([60, 50, 40] if given_bgr else [40, 50, 60])
    assert (said['order'], said['size']) == ('RGB', '24 x 24')


@pytest.mark.parametrize(
    ('entry', 'size', 'shape'),
    [
        ('r18', None, (3, 224, 224)),
        ('r18', 40, (3, 40, 40)),
        ('tiny', None, (3, 32, 32)),
    ],
)
def test_the_size_of_an_imported_backbone_is_that_of_other_exports(entry, size, shape, tmp_path):
    path = saved(built(entry), tmp_path / 'a.pth', BACKBONES[entry])
    cfg = Config(
        dict(
            model=dict(backbone=BACKBONES[entry]),
            data_preprocessor=dict(type='PerChannelPreprocessor', mean=[9.0] * 3, std=[5.0] * 3),
        )
    )
    assert shape_of(checkpoint_encoder(path, cfg, size=size), cfg) == shape


@pytest.mark.slow
@pytest.mark.parametrize('to_rgb', [True, False])
def test_features_of_the_runtime_equal_those_of_torch(weights, tmp_path, to_rgb):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    out, cfg = tmp_path / 'backbone.onnx', config(to_rgb=to_rgb)
    encoder = checkpoint_encoder(weights, cfg)
    line = export_onnx(encoder, out, weights, cfg, dict(knn=98.4))
    assert line.endswith('  # images: float32 (N, 3, 24, 24), RGB')
    found = eval(line, dict(onnxruntime=onnxruntime, images=RGB.astype(np.float32)))
    expected = embedded(encoder, tmp_path)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    said = onnxruntime.InferenceSession(out).get_modelmeta().custom_metadata_map
    assert json.loads(said.pop('metrics')) == dict(knn=98.4)
    assert said == properties(Encoder(encoder), (3, 24, 24))


def test_what_is_missing_is_named(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, 'PACKAGES', ('onnx', 'no_such_runtime'))
    with pytest.raises(ImportError, match='no_such_runtime: pip install "mmentropy\\[onnx\\]"'):
        export_onnx(encoder, tmp_path / 'backbone.onnx', tmp_path / 'weights.pth', CONFIG)


@pytest.mark.slow
def test_other_features_are_refused(encoder, tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    monkeypatch.setattr(onnx_file, 'TOLERANCE', -1.0)
    with pytest.raises(ValueError, match='other features than torch'):
        export_onnx(encoder, tmp_path / 'backbone.onnx', tmp_path / 'weights.pth', CONFIG)
    assert not list(tmp_path.glob('*.onnx'))
