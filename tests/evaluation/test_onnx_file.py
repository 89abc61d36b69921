"""Backbones as ONNX."""

import numpy as np
import pytest
import torch
from exported import BACKBONES, built
from mmengine.config import Config

from mmentropy.evaluation import onnx_file
from mmentropy.evaluation.file_encoder import checkpoint_encoder
from mmentropy.evaluation.onnx_file import export_onnx

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


@pytest.fixture
def encoder(tmp_path):
    network = built('r18s')
    state = {f'backbone.{key}': value for key, value in network.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'weights.pth')
    return checkpoint_encoder(tmp_path / 'weights.pth', CONFIG)


@pytest.mark.slow
def test_features_of_the_runtime_equal_those_of_torch(encoder, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    out = tmp_path / 'backbone.onnx'
    line = export_onnx(encoder, out, tmp_path / 'weights.pth')
    rng = np.random.default_rng(0)
    bgr = rng.integers(0, 256, (5, 3, 24, 24), np.uint8)
    images = bgr[:, ::-1].astype(np.float32)  # noqa: F841, the line below takes it
    found = eval(line, dict(onnxruntime=onnxruntime, images=images))
    expected = encoder.features(torch.from_numpy(bgr)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_what_is_missing_is_named(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, 'PACKAGES', ('onnx', 'no_such_runtime'))
    with pytest.raises(ImportError, match='no_such_runtime: pip install "mmentropy\\[onnx\\]"'):
        export_onnx(encoder, tmp_path / 'backbone.onnx', tmp_path / 'weights.pth')


@pytest.mark.slow
def test_other_features_are_refused(encoder, tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    monkeypatch.setattr(onnx_file, 'TOLERANCE', -1.0)
    with pytest.raises(ValueError, match='other features than torch'):
        export_onnx(encoder, tmp_path / 'backbone.onnx', tmp_path / 'weights.pth')
    assert not list(tmp_path.glob('*.onnx'))
