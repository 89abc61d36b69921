"""Images of mmpretrain's inferencers, which load colours as BGR."""

import numpy as np
import pytest
from mmpretrain import FeatureExtractor, get_model
from PIL import Image

NAMES = [
    # On arrays in RGB, on files whose transforms turn the channels, and whose preprocessor does.
    'mec_fast_r18s_1xb256_10e_cifar10',
    'minent_r18_1xb128_1000e_tiny_imagenet',
    'mec_r50_8xb64_100e_in1k',
]


@pytest.mark.parametrize('name', NAMES)
def test_a_network_gets_red_where_it_learned_red(name, tmp_path):
    Image.fromarray(np.full((64, 64, 3), [255, 0, 0], np.uint8)).save(tmp_path / 'red.png')
    model = get_model(name, pretrained=False)
    extractor = FeatureExtractor(model)
    data = next(extractor.preprocess([str(tmp_path / 'red.png')]))
    preprocessor = model.data_preprocessor
    inputs = preprocessor(data, False)['inputs']
    inputs = inputs[0] if isinstance(inputs, list) else inputs
    pixels = inputs[0] * preprocessor.std + preprocessor.mean
    assert pixels.mean((1, 2)).round().tolist() == [255, 0, 0]
