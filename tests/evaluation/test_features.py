"""Features of a frozen backbone, on one rank and on two."""

import numpy as np
import pytest
import torch
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.models import (
    ClsDataPreprocessor,
    ResNet_CIFAR,
    SelfSupDataPreprocessor,
    VisionTransformer,
)
from mmpretrain.structures import DataSample
from ranks import on_ranks
from small_images import NORM, PACK, Images, by_hand, tiny_resnet
from torch import nn

from mmentropy.datasets import Digits
from mmentropy.evaluation import (
    extract_features,
    knn_accuracy,
    pixel_features,
)
from mmentropy.evaluation.features import input_channels
from mmentropy.models.cmc import TwoEncoders
from mmentropy.views.preprocessor import PerChannelPreprocessor


@pytest.mark.parametrize('batch_size', [2, 3, 16])
@pytest.mark.parametrize('preprocessor', [SelfSupDataPreprocessor, ClsDataPreprocessor])
def test_features_are_those_of_the_backbone(batch_size, preprocessor):
    backbone, images = tiny_resnet(), Images(7)
    x, y = extract_features(backbone, images, preprocessor(**NORM), batch_size)
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert y.tolist() == list(range(7))
    torch.testing.assert_close(x, by_hand(backbone, images), rtol=1e-5, atol=1e-6)


def test_features_take_the_preprocessor_of_the_model():
    model = nn.Module()
    model.backbone = tiny_resnet()
    model.data_preprocessor = SelfSupDataPreprocessor(**NORM)
    x, _ = extract_features(model, Images(3))
    torch.testing.assert_close(x, by_hand(model.backbone, Images(3)), rtol=1e-5, atol=1e-6)


def test_features_leave_the_model_as_it_was():
    backbone = tiny_resnet()
    backbone.layer2.eval()
    modes = [m.training for m in backbone.modules()]
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    random_state = torch.get_rng_state()
    x, _ = extract_features(backbone, Images(5), dict(type='SelfSupDataPreprocessor', **NORM))
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)
    assert modes == [m.training for m in backbone.modules()]
    assert True in modes and False in modes
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('batch_size', [2, 256])
def test_rows_of_images_without_labels(batch_size):
    images = Images(3, range(3))
    x, y = extract_features(tiny_resnet(), images, SelfSupDataPreprocessor(**NORM), batch_size)
    torch.testing.assert_close(x, by_hand(tiny_resnet(), images), rtol=1e-5, atol=1e-6)
    assert y.shape == (0,) and y.dtype == torch.int64
    with pytest.raises(ValueError, match='train_x has no labels .*name a labelled split'):
        knn_accuracy(x, y, x, torch.arange(3))
    bare = [dict(inputs=torch.zeros(1, 8, 8))]
    assert len(extract_features(tiny_resnet(), bare, SelfSupDataPreprocessor(**NORM))[0]) == 1


def test_features_restore_modes_after_an_error():
    backbone = tiny_resnet()
    with pytest.raises(ValueError, match='lacks labels'):
        extract_features(backbone, Images(3, [1]), SelfSupDataPreprocessor(**NORM))
    assert all(m.training for m in backbone.modules())


@pytest.mark.parametrize('out_type', ['cls_token', 'raw', 'featmap'])
def test_features_of_vit(out_type):
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    vit = VisionTransformer(arch, img_size=16, patch_size=4, in_channels=1, out_type=out_type)
    vit.init_weights()
    images = Images(3)
    x, _ = extract_features(vit, images, SelfSupDataPreprocessor(**NORM))
    vit.out_type = 'raw'
    with torch.no_grad():
        tokens = vit((torch.stack(images.images) - 100.0) / 50.0)[-1]
    expected = tokens[:, 1:].mean(1) if out_type == 'featmap' else tokens[:, 0]
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'dataset, message',
    [
        (Images(3, [2]), r'^data set Images \(3 rows\) lacks labels .*split'),
        (Images(0), 'empty'),
        (Images(3, shape=lambda i: (1, 8, 8 + i)), 'different sizes'),
        ([dict(inputs=[torch.zeros(1, 8, 8)] * 2)], 'several views'),
        ([dict(img=torch.zeros(1, 8, 8))], 'PackInputs'),
    ],
)
def test_features_refuse_in_one_line(dataset, message):
    with pytest.raises(ValueError, match=message) as error:
        extract_features(tiny_resnet(), dataset, SelfSupDataPreprocessor(**NORM))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('preprocessor', [SelfSupDataPreprocessor, ClsDataPreprocessor])
def test_features_refuse_other_channels(preprocessor):
    """Broadcasting would make three channels of one."""
    colours = dict(mean=[1.0, 2.0, 3.0], std=[1.0] * 3)
    torch.manual_seed(0)
    backbone = ResNet_CIFAR(depth=18, base_channels=8, stem_channels=8)
    with pytest.raises(ValueError, match='have 1 channels, but .* on 3'):
        extract_features(backbone, Images(3), preprocessor(**colours))
    rgb = Images(3, shape=lambda i: (3, 16, 16))
    with pytest.raises(ValueError, match='have 3 channels, but .* on 1'):
        extract_features(tiny_resnet(), rgb, preprocessor(**NORM))
    assert len(extract_features(backbone, rgb, preprocessor(**colours))[0])


def test_one_mean_may_be_that_of_all_channels():
    rgb = Images(3, shape=lambda i: (3, 16, 16))
    torch.manual_seed(0)
    backbone = ResNet_CIFAR(depth=18, base_channels=8, stem_channels=8)
    for preprocessor in (SelfSupDataPreprocessor(**NORM), PerChannelPreprocessor(**NORM)):
        x, _ = extract_features(backbone, rgb, preprocessor)
        torch.testing.assert_close(x, by_hand(backbone, rgb), rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match='have 1 channels, but .* on 3'):
            extract_features(backbone, Images(3), preprocessor)


@pytest.mark.parametrize('mean', [[], [1.0]])
def test_channels_of_a_backbone_that_divides_the_image_are_not_known(mean):
    gray, two = (dict(type='ResNet_CIFAR', depth=18, in_channels=count) for count in (1, 2))
    backbone = TwoEncoders([gray, two])
    assert input_channels(PerChannelPreprocessor(mean or None, mean or None), backbone) is None


class Several(MultiLabelDataset):
    """Rows of none, one or several of four classes, some difficult."""

    METAINFO = dict(classes=('a', 'b', 'c', 'd'))
    ROWS = [([0], []), ([1, 3], [2]), ([], [0]), ([2], [2, 1]), ([], [])]

    def load_data_list(self):
        return [
            dict(
                img=np.full((8, 8, 1), i, np.uint8), gt_label=present, gt_label_difficult=difficult
            )
            for i, (present, difficult) in enumerate(self.ROWS)
        ]


@pytest.mark.slow
def test_labels_of_a_multi_label_data_set():
    pack = dict(type='PackInputs', meta_keys=('gt_label_difficult',))
    expected = [[1, 0, 0, 0], [0, 1, -1, 1], [-1, 0, 0, 0], [0, -1, 1, 0], [0, 0, 0, 0]]
    dataset = Several('', pipeline=[pack])
    for wrapped, rows in [(dataset, range(5)), (torch.utils.data.Subset(dataset, [3, 0]), [3, 0])]:
        x, y = extract_features(tiny_resnet(), wrapped, SelfSupDataPreprocessor(**NORM), 2)
        assert y.dtype == torch.int64 and len(x) == len(y)
        assert y.tolist() == [expected[i] for i in rows]
    with pytest.raises(ValueError, match='names no classes'):
        pixel_features(Several('', pipeline=PACK, metainfo=dict(classes=())))
    dataset = Several('', pipeline=[pack], serialize_data=False)
    del dataset.data_list[3]['gt_label']
    with pytest.raises(ValueError, match='lacks labels'):
        pixel_features(dataset)
    single = [dict(inputs=torch.zeros(1, 8, 8), data_samples=DataSample().set_gt_label([1, 2]))]
    with pytest.raises(ValueError, match='2 labels in an image, but is no'):
        pixel_features(single)


def test_difficult_labels_must_be_packed():
    """They would count as absent."""
    dataset = Several('', pipeline=PACK, serialize_data=False)
    for wrapped in (dataset, torch.utils.data.Subset(dataset, [3, 0])):
        with pytest.raises(ValueError, match=r"difficult .* meta_keys=\('gt_label_difficult',\)"):
            extract_features(tiny_resnet(), wrapped, SelfSupDataPreprocessor(**NORM))
    # Where none are listed nothing is lost.
    for row in dataset.data_list:
        del row['gt_label_difficult']
    _, y = pixel_features(dataset)
    assert y.tolist() == [[int(k in present) for k in range(4)] for present, _ in Several.ROWS]


def test_features_refuse_a_missing_preprocessor_and_odd_outputs():
    with pytest.raises(ValueError, match='no data_preprocessor'):
        extract_features(tiny_resnet(), Images(3))

    class Ids(nn.Linear):
        def forward(self, x):
            return x, torch.zeros(len(x), 4, dtype=torch.int64)

    with pytest.raises(ValueError, match='no feature tensor'):
        extract_features(Ids(1, 1), Images(3), SelfSupDataPreprocessor())


@pytest.mark.slow
def test_pixels_are_flat_and_in_unit_range():
    x, y = pixel_features(dict(type='Digits', split='test', pipeline=PACK))
    digits = Digits(split='test')
    expected = np.stack([digits[i]['img'].reshape(-1) for i in range(500)])
    np.testing.assert_allclose(x.numpy(), expected / 255, rtol=1e-6)
    assert x.max() == 1 and y.tolist() == list(digits.get_gt_labels())
    bad = [dict(inputs=torch.full((1, 2, 2), 3.0), data_samples=None)]
    with pytest.raises(ValueError, match='0..1'):
        pixel_features(bad)


def _extract_on_two_ranks(rank, world):
    results = {}
    for size in (1, 2, 7, 9):
        results[size] = extract_features(
            tiny_resnet(), Images(size), SelfSupDataPreprocessor(**NORM), batch_size=2
        )
    results['pixels'] = pixel_features(Images(7), batch_size=2)
    # Only the second rank meets the unlabelled row; both have to raise.
    try:
        extract_features(
            tiny_resnet(), Images(7, [3]), SelfSupDataPreprocessor(**NORM), batch_size=2
        )
    except ValueError as error:
        results['error'] = str(error)
    return results


@pytest.mark.slow
def test_two_ranks_get_all_rows_in_order(tmp_path):
    for results in on_ranks(_extract_on_two_ranks, 2, tmp_path):
        for size in (1, 2, 7, 9):
            x, y = results[size]
            assert y.tolist() == list(range(size))
            torch.testing.assert_close(
                x, by_hand(tiny_resnet(), Images(size)), rtol=1e-5, atol=1e-6
            )
        pixels = torch.stack(Images(7).images).flatten(1) / 255
        torch.testing.assert_close(results['pixels'][0], pixels)
        assert 'lacks labels' in results['error']
