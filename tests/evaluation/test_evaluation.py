"""Features, the protocols and the tool that runs them."""

import copy
import json
import math
import re
import runpy
import sys
from fractions import Fraction

import fake_data
import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.evaluation import VOCAveragePrecision
from mmpretrain.models import (
    ClsDataPreprocessor,
    ResNet_CIFAR,
    SelfSupDataPreprocessor,
    VisionTransformer,
)
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from repository import REPOSITORY
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from mmentropy.datasets import Digits
from mmentropy.evaluation import (
    VOC07AveragePrecision,
    build_backbone,
    build_data_preprocessor,
    eval_datasets,
    extract_features,
    finetune,
    finetune_accuracy,
    knn_accuracy,
    knn_predict,
    linear,
    linear_probe,
    low_shot,
    minent_linear_probe,
    parse_protocols,
    pixel_features,
    protocols,
    svm,
    svm_score,
    voc07_ap,
)
from mmentropy.evaluation import knn as knn_module

TOOL = REPOSITORY / 'tools' / 'evaluate.py'
PACK = [dict(type='PackInputs')]
NORM = dict(mean=[100.0], std=[50.0])


class Images(torch.utils.data.Dataset):
    """Random (1, 16, 16) images; row i has label i."""

    def __init__(self, size, unlabelled=(), shape=lambda i: (1, 16, 16)):
        rng = np.random.default_rng(0)
        self.images = [
            torch.from_numpy(rng.integers(0, 256, shape(i), dtype=np.uint8)) for i in range(size)
        ]
        self.unlabelled = unlabelled

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        sample = DataSample()
        if i not in self.unlabelled:
            sample.set_gt_label(i)
        return dict(inputs=self.images[i], data_samples=sample)


def tiny_resnet(seed=0):
    torch.manual_seed(seed)
    return ResNet_CIFAR(depth=18, base_channels=8, stem_channels=8, in_channels=1)


def by_hand(backbone, images, mean=100.0, std=50.0):
    x = (torch.stack(images.images).float() - mean) / std
    # mmpretrain's train() returns nothing, so no chain.
    backbone.eval()
    with torch.no_grad():
        return backbone(x)[-1].mean((2, 3))


# ---------------------------------------------------------------- features


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
        ([dict(inputs=torch.zeros(1, 8, 8))], 'lacks labels'),
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


def test_labels_of_a_multi_label_data_set():
    pack = dict(type='PackInputs', meta_keys=('gt_label_difficult',))
    expected = [[1, 0, 0, 0], [0, 1, -1, 1], [-1, 0, 0, 0], [0, -1, 1, 0], [0, 0, 0, 0]]
    dataset = Several('', pipeline=[pack])
    for wrapped, rows in [(dataset, range(5)), (torch.utils.data.Subset(dataset, [3, 0]), [3, 0])]:
        x, y = extract_features(tiny_resnet(), wrapped, SelfSupDataPreprocessor(**NORM), 2)
        assert y.dtype == torch.int64 and len(x) == len(y)
        assert y.tolist() == [expected[i] for i in rows]
    _, y = pixel_features(Several('', pipeline=PACK))
    assert y.tolist() == [[int(v == 1) for v in row] for row in expected]
    with pytest.raises(ValueError, match='names no classes'):
        pixel_features(Several('', pipeline=PACK, metainfo=dict(classes=())))
    dataset = Several('', pipeline=PACK, serialize_data=False)
    del dataset.data_list[3]['gt_label']
    with pytest.raises(ValueError, match='lacks labels'):
        pixel_features(dataset)
    single = [dict(inputs=torch.zeros(1, 8, 8), data_samples=DataSample().set_gt_label([1, 2]))]
    with pytest.raises(ValueError, match='2 labels in an image, but is no'):
        pixel_features(single)


def test_features_refuse_a_missing_preprocessor_and_odd_outputs():
    with pytest.raises(ValueError, match='no data_preprocessor'):
        extract_features(tiny_resnet(), Images(3))

    class Ids(nn.Linear):
        def forward(self, x):
            return x, torch.zeros(len(x), 4, dtype=torch.int64)

    with pytest.raises(ValueError, match='no feature tensor'):
        extract_features(Ids(1, 1), Images(3), SelfSupDataPreprocessor())


def test_pixels_are_flat_and_in_unit_range():
    x, y = pixel_features(dict(type='Digits', split='test', pipeline=PACK))
    digits = Digits(split='test')
    expected = np.stack([digits[i]['img'].reshape(-1) for i in range(500)])
    np.testing.assert_allclose(x.numpy(), expected / 255, rtol=1e-6)
    assert x.max() == 1 and y.tolist() == list(digits.get_gt_labels())
    bad = [dict(inputs=torch.full((1, 2, 2), 3.0), data_samples=None)]
    with pytest.raises(ValueError, match='0..1'):
        pixel_features(bad)


def _extract_on_two_ranks(rank, folder):
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
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
    torch.save(results, f'{folder}/{rank}.pt')
    dist.destroy_process_group()


def test_two_ranks_get_all_rows_in_order(tmp_path):
    torch.multiprocessing.spawn(_extract_on_two_ranks, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        results = torch.load(tmp_path / f'{rank}.pt')
        for size in (1, 2, 7, 9):
            x, y = results[size]
            assert y.tolist() == list(range(size))
            torch.testing.assert_close(
                x, by_hand(tiny_resnet(), Images(size)), rtol=1e-5, atol=1e-6
            )
        pixels = torch.stack(Images(7).images).flatten(1) / 255
        torch.testing.assert_close(results['pixels'][0], pixels)
        assert 'lacks labels' in results['error']


# --------------------------------------------------------------------- kNN


@pytest.fixture(scope='module')
def digits():
    pairs = []
    for split in ('train', 'test'):
        pairs += pixel_features(dict(type='Digits', split=split, pipeline=PACK))
    return pairs


@pytest.mark.parametrize('k', [1, 4, 20])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_cosine_knn_equals_scikit_learn(digits, k, temperature):
    train_x, train_y, test_x, test_y = digits
    witness = KNeighborsClassifier(
        k,
        metric='cosine',
        algorithm='brute',
        weights=lambda distance: np.exp((1 - distance) / temperature),
    )
    expected = witness.fit(train_x, train_y).predict(test_x)
    found = knn_predict(train_x, train_y, test_x, k, temperature=temperature)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize('k', [1, 4, 5])
def test_euclidean_knn_equals_scikit_learn(digits, k):
    train_x, train_y, test_x, test_y = digits
    # Far from the origin float32 distances would be wrong.
    train_x, test_x = train_x + 300, test_x + 300
    witness = KNeighborsClassifier(k).fit(train_x.double(), train_y)
    found = knn_predict(train_x, train_y, test_x, k, 'euclidean')
    assert found.tolist() == witness.predict(test_x.double()).tolist()
    assert knn_accuracy(train_x, train_y, test_x, test_y, k, 'euclidean') == pytest.approx(
        100 * witness.score(test_x.double(), test_y), abs=1e-9
    )


def test_knn_metrics_and_temperature_differ_where_they_should():
    # By angle the nearest is class 1, by distance class 0.
    x, y = torch.tensor([[1.0, 1.0], [10.0, 0.0]]), torch.tensor([0, 1])
    query = torch.tensor([[2.0, 0.5]])
    assert knn_predict(x, y, query, 1).item() == 1
    assert knn_predict(x, y, query, 1, 'euclidean').item() == 0
    # One close vote against two far ones: the temperature decides.
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    y = torch.tensor([1, 0, 0])
    query = torch.tensor([[3.0, 0.0]])
    assert knn_predict(x, y, query, 3, temperature=0.1).item() == 1
    assert knn_predict(x, y, query, 3, temperature=10.0).item() == 0
    assert knn_predict(x, y, query, 3, temperature=1e-4).item() == 1


def test_knn_tie_goes_to_the_lowest_class():
    x = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
    for y in ([2, 1, 1, 2], [1, 2, 2, 1]):
        found = knn_predict(x, torch.tensor(y), torch.zeros(1, 1), 4, 'euclidean')
        assert found.item() == 1


@pytest.mark.parametrize('metric', ['cosine', 'euclidean'])
def test_knn_blocks_do_not_change_the_result(digits, metric, monkeypatch):
    train_x, train_y, test_x, _ = digits
    whole = knn_predict(train_x, train_y, test_x, 5, metric)
    # The last block is one row, fewer than there are neighbours.
    for bank in (50, len(train_x) - 1):
        monkeypatch.setattr(knn_module, '_QUERIES', 7)
        monkeypatch.setattr(knn_module, '_BANK', bank)
        found = knn_predict(train_x, train_y, test_x, 5, metric)
        assert torch.equal(whole, found)
    # Every row is found, the last one too.
    rows = torch.arange(len(train_x))
    assert torch.equal(knn_predict(train_x, rows, train_x, 1, metric), rows)


def test_knn_refuses_in_one_line():
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    broken = torch.tensor([[1.0, float('nan')]])
    for args, message in [
        ((x, y, x, 5), r'k must be in 1\.\.4'),
        ((x, y, x, 0), 'k must be'),
        ((x, y, x, 1, 'manhattan'), 'metric must be'),
        ((x, y, x, 1, 'cosine', 0.0), 'temperature'),
        ((x, y, x, 1, 'cosine', 1.0, 1), 'num_classes'),
        ((x, y, x[:, :1], 1), r'\(4, 2\) and \(4, 1\)'),
        ((x, y[:3], x, 1), 'train_y'),
        ((x, y - 1, x, 1), 'negative'),
        ((x, y, broken, 1), 'test_x has non-finite features in 1 of 1'),
        ((broken, y[:1], x, 1), 'train_x has non-finite'),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            knn_predict(*args)
        assert '\n' not in str(error.value)
    with pytest.raises(ValueError, match='test_y'):
        knn_accuracy(x, y, x, y[:1], 1)


# ------------------------------------------------------------ linear probe


def test_linear_probe_agrees_with_logistic_regression(digits):
    train_x, train_y, test_x, test_y = digits
    witness = LogisticRegression(max_iter=5000).fit(train_x, train_y)
    found = linear_probe(train_x, train_y, test_x, test_y)
    assert abs(found.accuracy - 100 * witness.score(test_x, test_y)) <= 1
    pair = found.learning_rate, found.weight_decay
    assert found.val_accuracies[pair] == max(found.val_accuracies.values())


def test_linear_probe_follows_torch_sgd(digits):
    """The hand-written step equals autograd, SGD and its cosine schedule."""
    x, y, test_x, test_y = digits[0][:96], digits[1][:96], *digits[2:]
    fit = dict(num_classes=10, epochs=4, batch_size=40, seed=3)
    ((accuracy, loss),) = linear._fit(x, y, test_x, test_y, [(0.5, 0.01)], **fit)
    norm = nn.BatchNorm1d(64, eps=1e-6, affine=False, momentum=1.0).double()
    norm(x.double())
    # Torch keeps the unbiased variance.
    norm.running_var *= 95 / 96
    norm.eval()
    layer = nn.Linear(64, 10).double()
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(
        [dict(params=[layer.weight], weight_decay=0.01), dict(params=[layer.bias])],
        lr=0.5,
        momentum=0.9,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        for rows in torch.randperm(96, generator=generator).split(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(norm(x[rows].double())), y[rows]).backward()
            optimizer.step()
            scheduler.step()
    logits = layer(norm(test_x.double()))
    expected = nn.functional.cross_entropy(logits, test_y)
    assert -loss == pytest.approx(expected.item(), rel=1e-4)
    expected = (logits.argmax(1) == test_y).double().mean()
    assert accuracy == pytest.approx(100 * expected.item(), abs=1e-9)


def test_linear_pairs_trained_at_once_equal_separate_ones(digits):
    fit = dict(num_classes=10, epochs=3, batch_size=100, seed=1)
    pairs = [(0.003, 0.0), (0.1, 0.1), (0.1, 0.0), (1.0, 0.01), (1.0, 0.03)]
    together = linear._fit(*digits, pairs, **fit)
    for pair, scores in zip(pairs, together, strict=True):
        (alone,) = linear._fit(*digits, [pair], **fit)
        assert alone == pytest.approx(scores, rel=1e-6)
    assert len({loss for _, loss in together}) == 5


def test_linear_rate_is_not_chosen_on_the_test_set(digits):
    train_x, train_y, test_x, test_y = digits
    one = linear_probe(train_x, train_y, test_x, test_y, epochs=5)
    other = linear_probe(train_x, train_y, test_x.flip(0), test_y, epochs=5)
    assert one[1:] == other[1:]
    assert other.accuracy < 30 < one.accuracy


def test_linear_wd_chooses_a_weight_decay(digits):
    """As it does where a twentieth of the labels is wrong."""
    generator = torch.Generator().manual_seed(6)
    x, y, test = digits[0][:400], digits[1][:400].clone(), digits[2:]
    wrong = torch.rand(400, generator=generator) < 0.05
    y[wrong] = torch.randint(10, (400,), generator=generator)[wrong]
    found = []
    for seed in (0, 1):
        plain, decayed = [
            linear_probe(x, y, *test, weight_decays=decays, seed=seed)
            for decays in ((0.0,), (0.0, 0.001))
        ]
        names = dict(linear=plain.accuracy, linear_wd=decayed.accuracy)
        for name, accuracy in names.items():
            assert protocols._FROZEN[name]((x, y), test, seed) == accuracy
        found.append((plain, decayed))
    (plain, decayed), (other, _) = found
    assert plain.learning_rate == decayed.learning_rate
    assert decayed.weight_decay == 0.001
    # Nothing of the above holds by chance.
    assert plain.accuracy + 1 < decayed.accuracy < other.accuracy - 1


def test_linear_held_out_rows_are_a_tenth_of_each_class():
    labels = torch.arange(400) % 4
    masks = [
        linear.stratified_tenth(labels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert labels[masks[0]].bincount().tolist() == [10] * 4
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_linear_probe_does_not_depend_on_the_scale_of_a_feature(digits):
    train_x, train_y, test_x, test_y = digits
    live = train_x.var(0) > 1e-3
    train_x, test_x = train_x[:, live], test_x[:, live]
    scale = torch.logspace(0, 4, int(live.sum()))
    one = linear_probe(train_x, train_y, test_x, test_y, epochs=10)
    other = linear_probe(train_x * scale + 7, train_y, test_x * scale + 7, test_y, epochs=10)
    assert abs(one.accuracy - other.accuracy) <= 1


def test_linear_class_that_only_the_test_rows_have(digits):
    train_x, train_y, test_x, test_y = digits
    few = train_y < 9
    args = train_x[few], train_y[few]
    known = test_y < 9
    found = linear_probe(*args, test_x, test_y, epochs=5)
    expected = linear_probe(*args, test_x[known], test_y[known], epochs=5)
    share = known.double().mean().item()
    assert found.accuracy == pytest.approx(share * expected.accuracy)
    assert found[1:] == expected[1:]


def test_linear_probe_says_when_nothing_converges(digits):
    with pytest.raises(ValueError, match='diverged'):
        linear_probe(*digits, learning_rates=[1e30], weight_decays=[1.0], epochs=2)
    # On the test rows only.
    huge = digits[2].clone()
    huge[0, 0] = 3e38
    with pytest.raises(ValueError, match='diverged'):
        linear_probe(*digits[:2], huge, digits[3], epochs=2)
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    for args, message in [
        ((x, y, x[:, :1], y), r'\(4, 1\)'),
        ((x, y[:3], x, y), 'train_x has 4 rows'),
        ((x / 0 * 0, y, x, y), 'train_x has non-finite features in 4 of 4'),
        ((x, y - 1, x, y), 'negative'),
        ((x, y, x, y, ()), 'learning_rates'),
        ((x, y, x, y, (0.1,), 0), 'epochs'),
        ((x, y, x, y, (0.1,), 1, 1, ()), 'weight_decays'),
        ((x, y, x, y, (0.1,), 1, 1, (0, -0.1)), 'none below 0'),
    ]:
        with pytest.raises(ValueError, match=message):
            linear_probe(*args)


def test_minent_probe_agrees_with_logistic_regression(digits):
    # As they are, so their scale counts: at 0..1 Adam would stop half-way.
    train_x, train_y, test_x, test_y = digits
    train_x, test_x = 4 * train_x, 4 * test_x
    witness = LogisticRegression(max_iter=5000).fit(train_x, train_y)
    state = torch.get_rng_state()
    found = minent_linear_probe(train_x, train_y, test_x, test_y)
    assert abs(found - 100 * witness.score(test_x, test_y)) <= 1
    assert torch.equal(torch.get_rng_state(), state)


def test_minent_probe_has_the_schedule_of_the_code(digits, monkeypatch):
    """Adam from 1e-2 to 1e-6; the accuracy is that of the last step."""
    seen = []
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        (group,) = self.param_groups
        before = group['params'][0].detach().clone()
        step(self, *args, **kwargs)
        seen.append(
            (
                group['lr'],
                group['weight_decay'],
                before,
                [p.detach().clone() for p in group['params']],
            )
        )

    monkeypatch.setattr(torch.optim.Adam, 'step', spy)
    accuracy = minent_linear_probe(*digits, epochs=10, seed=3)
    # 1,297 rows are two batches of at most 1,000.
    assert len(seen) == 20
    factors = [b[0] / a[0] for a, b in zip(seen[::2], seen[2::2])]
    assert factors == pytest.approx([1e-4**0.1] * 9)
    assert seen[0][0] == 1e-2 and seen[1][0] == 1e-2
    assert seen[-1][0] / 10**0.4 == pytest.approx(1e-6)
    assert {decay for _, decay, *_ in seen} == {5e-6}
    weight, bias = seen[-1][-1]
    predictions = (digits[2] @ weight.T + bias).argmax(1)
    expected = (predictions == digits[3]).double().mean().item()
    assert accuracy == pytest.approx(100 * expected, abs=1e-9)
    first = seen[0][2]
    for seed, same in ((3, True), (4, False)):
        seen.clear()
        minent_linear_probe(*digits, epochs=1, seed=seed)
        assert torch.equal(seen[0][2], first) == same
    # The first step is by the first rows in the seed's order.
    order = torch.randperm(1297, generator=torch.Generator().manual_seed(4))
    torch.manual_seed(4)
    layer = nn.Linear(64, 10)
    nn.functional.cross_entropy(layer(digits[0][order[:1000]]), digits[1][order[:1000]]).backward()
    step(torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=5e-6))
    for expected, found in zip(layer.parameters(), seen[0][-1], strict=True):
        torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match='epochs'):
        minent_linear_probe(*digits, epochs=0)


# --------------------------------------------------------------------- SVM


def exact_ap(scores, labels):
    """VOC 2007's definition, rank by rank, in fractions."""
    pairs = sorted((p for p in zip(scores, labels) if p[1] >= 0), reverse=True)
    total, hits, points = sum(y for _, y in pairs), 0, []
    for rank, (_, y) in enumerate(pairs, 1):
        hits += y
        points.append((Fraction(hits, total), Fraction(hits, rank)))
    return sum(max(p for r, p in points if r >= Fraction(t, 10)) for t in range(11)) / 11


def test_voc_ap_at_eleven_points():
    # One of two found at once, the other third.
    assert voc07_ap(np.array([3.0, 2, 1]), np.array([1, 0, 1])) == pytest.approx(
        (6 + 5 * 2 / 3) / 11
    )
    # Nothing is right at rank 1, so precision is never 1.
    assert voc07_ap(np.array([2.0, 1]), np.array([0, 1])) == 0.5
    assert np.isnan(voc07_ap(np.array([2.0, 1]), np.array([0, -1])))
    rng = np.random.default_rng(0)
    for total in (7, 10, 30):
        labels = rng.permutation([1] * total + [0] * 40 + [-1] * 20)
        scores = rng.normal(size=len(labels)) + 0.5 * labels
        expected = float(exact_ap(scores.tolist(), labels.tolist()))
        assert voc07_ap(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_voc_metric_is_the_mean_over_classes():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 4)), rng.integers(-1, 2, (50, 4))
    labels[:, 3] = 0
    each = [100 * voc07_ap(scores[:, c], labels[:, c]) for c in range(3)]
    args = torch.tensor(scores), torch.tensor(labels)
    found = VOC07AveragePrecision.calculate(*args)
    assert found.item() == pytest.approx(np.mean(each))
    found = VOC07AveragePrecision.calculate(*args, average=None)
    assert found[:3].tolist() == pytest.approx(each)
    # The area under the curve is something else.
    area = VOCAveragePrecision.calculate(*args, average=None)
    assert (area[:3] - found[:3]).abs().min() > 0.1


def spied(monkeypatch, name):
    """Arguments and results of the calls of a function of the module."""
    calls, original = [], getattr(svm, name)

    def spy(*args):
        calls.append((*args, original(*args)))
        return calls[-1][-1]

    monkeypatch.setattr(svm, name, spy)
    return calls


@pytest.mark.parametrize('several', [False, True])
def test_svm_cost_is_chosen_on_training_rows(digits, several, monkeypatch):
    if several:
        digits = [torch.eye(10, dtype=torch.int64)[v] if v.dim() == 1 else v for v in digits]
    calls = spied(monkeypatch, '_mean_ap' if several else '_accuracy')
    costs = (1e-4, 1.0, 1e-3)
    assert svm_score(*digits, costs=costs) > 94
    assert [call[4] for call in calls] == [*costs, 1.0]
    unit = torch.nn.functional.normalize(digits[0].double())
    for x, _, held_x, _, *_ in calls[:-1]:
        assert (len(x), len(held_x)) == (1167, 130)
        together = np.concatenate([x, held_x])
        assert np.allclose(sorted(together.sum(1)), sorted(unit.sum(1)))
    last = calls[-1]
    assert np.allclose(last[0], unit) and len(last[2]) == 500
    # Wrong test labels change the result, not the choice.
    calls.clear()
    flipped = svm_score(*digits[:3], digits[3].flip(0), costs=costs)
    assert flipped < 30 and calls[-1][4] == 1.0


def test_svm_ignores_what_is_difficult(digits):
    train_x, train_y, test_x, test_y = digits
    train_y, test_y = [torch.eye(10, dtype=torch.int64)[y] for y in (train_y, test_y)]
    clean = svm_score(train_x, train_y, test_x, test_y, costs=[1.0])
    wrong, marked = [], []
    for y in (train_y, test_y):
        noise = torch.rand(y.shape) < 0.3
        wrong.append(torch.where(noise, 1 - y, y))
        marked.append(torch.where(noise, -1, y))
    worse = svm_score(train_x, wrong[0], test_x, wrong[1], costs=[1.0])
    same = svm_score(train_x, marked[0], test_x, marked[1], costs=[1.0])
    assert abs(same - clean) < 2 and worse < clean - 20
    for y in (marked, wrong):
        mixed = svm_score(train_x, y[0], test_x, marked[1], costs=[1.0])
        assert (mixed > clean - 2) == (y is marked)


def test_svm_of_rare_classes_and_bad_input(digits):
    x, y = digits[0][:40], torch.zeros(40, 3, dtype=torch.int64)
    y[:20, 0] = y[0, 1] = 1
    assert 0 < svm_score(x, y, x, y) <= 100
    with pytest.raises(ValueError, match=r'same classes.*\(40, 3\)'):
        svm_score(x, y, x, y[:, :2])
    with pytest.raises(ValueError, match='train_x has 40 rows'):
        svm_score(x, y[:9], x, y)
    with pytest.raises(ValueError, match='train_x has non-finite'):
        svm_score(x / 0, y, x, y)


def test_low_shot_sees_k_rows_of_each_class(digits, monkeypatch):
    calls = spied(monkeypatch, '_accuracy')
    scores = low_shot(*digits, shots=(1, 4, 16), draws=3)
    assert list(scores) == [1, 4, 16] and len(calls) == 9
    assert scores[1] < scores[4] < scores[16] < 95
    rows = [{tuple(row) for row in call[0]} for call in calls]
    for k, call in zip([1, 4, 16] * 3, calls):
        assert np.bincount(call[1]).tolist() == [k] * 10
        assert len(call[2]) == 500
    for draw in range(3):
        one, four, sixteen = rows[3 * draw : 3 * draw + 3]
        assert one < four < sixteen
    assert rows[0] != rows[3]
    assert scores[4] == pytest.approx(np.mean([call[-1] for call in calls[1::3]]))
    assert low_shot(*digits, shots=(1, 4, 16), draws=3) == scores
    assert low_shot(*digits, shots=(4,), draws=3, seed=1)[4] != scores[4]
    with pytest.raises(ValueError, match='training rows, fewer than 200'):
        low_shot(*digits, shots=(1, 200))


# --------------------------------------------------------------- fine-tune


def few_digits(shots, split='train'):
    digits = dict(type='Digits', split=split, pipeline=PACK)
    return DATASETS.build(dict(type='LabelSubset', dataset=digits, shots=shots))


def tune(seed=0, train=None, **kwargs):
    return finetune_accuracy(
        tiny_resnet(),
        SelfSupDataPreprocessor(**NORM),
        train or few_digits(1),
        few_digits(2, 'test'),
        seed=seed,
        **kwargs,
    )


def test_finetune_trains_the_network_and_the_classifier():
    backbone = tiny_resnet()
    before = {k: v.clone() for k, v in backbone.named_parameters()}
    backbone.layer1[0].conv1.weight.requires_grad = False
    state = torch.get_rng_state()
    accuracy = finetune_accuracy(
        backbone,
        SelfSupDataPreprocessor(**NORM),
        few_digits(8),
        few_digits(9, 'test'),
        epochs=40,
        min_steps=1,
        learning_rate=1.0,
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert 40 < accuracy < 100
    for name, value in backbone.named_parameters():
        frozen = name == 'layer1.0.conv1.weight'
        assert torch.equal(value, before[name]) == frozen, name


def test_finetune_follows_the_recipe(monkeypatch):
    seen, losses = [], []
    step, entropy = torch.optim.SGD.step, finetune.F.cross_entropy

    def spy(self, *args, **kwargs):
        seen.append(dict(self.param_groups[0]))
        return step(self, *args, **kwargs)

    def loss(logits, labels):
        losses.append((entropy(logits, labels), labels))
        return losses[-1][0]

    monkeypatch.setattr(torch.optim.SGD, 'step', spy)
    monkeypatch.setattr(finetune.F, 'cross_entropy', loss)
    tune()
    # 10 images are one batch, and 50 epochs too few steps.
    assert len(seen) == 100 and set(map(len, (y for _, y in losses))) == {10}
    rate = 0.05 * 10 / 256
    rates = [rate * 0.5 * (1 + math.cos(math.pi * i / 100)) for i in range(100)]
    assert [group['lr'] for group in seen] == pytest.approx(rates)
    assert seen[0]['momentum'] == 0.9 and seen[0]['weight_decay'] == 0
    # The classifier starts from zero.
    assert losses[0][0].item() == pytest.approx(math.log(10), abs=1e-5)
    assert losses[-1][0] < losses[0][0]
    seen.clear()
    tune(train=few_digits(3), batch_size=8, epochs=5, min_steps=1)
    # Batches of 8 of 30 rows, the rest left out.
    assert len(seen) == 15 and seen[0]['lr'] == pytest.approx(0.05 * 8 / 256)
    orders = []
    for seed in (0, 1, 0):
        losses.clear()
        tune(seed, few_digits(3), batch_size=8, epochs=1, min_steps=1)
        orders.append([y.tolist() for _, y in losses])
    assert orders[0] == orders[2] != orders[1]


# ------------------------------------------------------ protocols and tool

MODEL = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        base_channels=8,
        stem_channels=8,
        in_channels=1,
        init_cfg=dict(type='Pretrained', checkpoint='/nowhere.pth'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)


def digits_config(**kwargs):
    train, test = [
        dict(type='Digits', split=split, indices=200, pipeline=PACK) for split in ('train', 'test')
    ]
    return Config(
        dict(
            model=MODEL,
            data_preprocessor=NORM,
            **kwargs or dict(eval_datasets=dict(train=train, test=test)),
        )
    )


def test_parse_protocols_lists_the_choices():
    assert parse_protocols('knn, linear') == ['knn', 'linear']
    for text in ('knn,tsne', ''):
        with pytest.raises(ValueError, match='choose from knn, knn200, knn5'):
            parse_protocols(text)


def test_eval_datasets_of_an_ordinary_config():
    noisy = [dict(type='RandomFlip', prob=0.5), *PACK]
    digits = dict(type='Digits', pipeline=noisy)
    cfg = digits_config(
        train_dataloader=dict(dataset=dict(type='RepeatDataset', times=3, dataset=digits)),
        test_dataloader=dict(dataset=dict(type='Digits', split='test', pipeline=PACK)),
    )
    train, test = eval_datasets(cfg)
    assert train == dict(type='Digits', pipeline=PACK)
    assert test.split == 'test'
    assert cfg.train_dataloader.dataset.dataset.pipeline == noisy
    with pytest.raises(ValueError, match='eval_datasets = dict'):
        eval_datasets(digits_config(train_dataloader=dict(dataset=digits)))
    with pytest.raises(ValueError, match='train and test'):
        eval_datasets(digits_config(eval_datasets=dict(train=digits)))


def test_built_backbone_is_seeded_and_never_pretrained(capsys):
    cfg = digits_config()
    state = torch.get_rng_state()
    capsys.readouterr()
    one, two, three = [build_backbone(cfg, seed) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    # mmengine would log three lines per parameter.
    assert capsys.readouterr().out == ''
    assert torch.equal(one.conv1.weight, two.conv1.weight)
    assert not torch.equal(one.conv1.weight, three.conv1.weight)
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    cfg.model.backbone.init_cfg.type = 'PretrainedBackbone'
    assert torch.equal(one.conv1.weight, build_backbone(cfg, 0).conv1.weight)
    assert isinstance(build_data_preprocessor(cfg), ClsDataPreprocessor)
    cfg.model.type = 'BYOL'
    assert isinstance(build_data_preprocessor(cfg), SelfSupDataPreprocessor)


def run_tool(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *map(str, args)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture
def checkpoint(tmp_path):
    weights = tiny_resnet(5).state_dict()
    state = {f'backbone.{k}': v for k, v in weights.items()}
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=state, meta=dict(cfg=digits_config().pretty_text)), path)
    return path


def test_tool_scores_checkpoint_and_baselines(checkpoint, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'results.json'
    assert (
        run_tool(
            monkeypatch,
            checkpoint,
            '--protocols',
            'knn,knn5,linear',
            '--random',
            '--pixels',
            '--out',
            out,
        )
        == 0
    )
    results = json.loads(out.read_text())
    assert list(results) == ['checkpoint', 'random', 'pixels']
    assert all(list(r) == ['knn', 'knn5', 'linear'] for r in results.values())
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in printed[-3:]]
    assert {row[0]: [float(v) for v in row[1:]] for row in rows} == {
        name: [round(v, 2) for v in scores.values()] for name, scores in results.items()
    }
    assert len({len(line) for line in printed[-4:]}) == 1

    # The same by hand.
    data = []
    for split in ('train', 'test'):
        data += extract_features(
            tiny_resnet(5),
            dict(type='Digits', split=split, indices=200, pipeline=PACK),
            SelfSupDataPreprocessor(**NORM),
        )
    assert results['checkpoint'] == pytest.approx(
        dict(
            knn=knn_accuracy(*data),
            knn5=knn_accuracy(*data, k=5, metric='euclidean'),
            linear=linear_probe(*data).accuracy,
        ),
        abs=1e-6,
    )
    assert results['random'] != results['checkpoint']


ALL = 'knn,knn200,knn5,linear,minent_linear,lowshot,svm,semi1,semi10'


def test_tool_scores_by_every_protocol(checkpoint, tmp_path, monkeypatch, capsys):
    """Each column is what its function gives, the fine-tuned come last."""
    # Few draws and steps.
    monkeypatch.setattr(low_shot, '__defaults__', ((1, 2), 2, 0))
    monkeypatch.setattr(finetune_accuracy, '__defaults__', (3, 8, 0.05, 1, 0, 0))
    out = tmp_path / 'results.json'
    option = '--cfg-options', 'eval_datasets.train.indices=400'
    assert (
        run_tool(
            monkeypatch,
            checkpoint,
            '--protocols',
            ALL,
            '--pixels',
            '--random',
            '--seed',
            2,
            '--out',
            out,
            *option,
        )
        == 0
    )
    results = json.loads(out.read_text())
    columns = ALL.replace('lowshot', 'lowshot1,lowshot2').split(',')
    assert list(results['checkpoint']) == list(results['random']) == columns
    assert list(results['pixels']) == columns[:-2]
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4].split() == columns
    assert printed[-1].split()[-2:] == ['-', '-']
    assert len({len(line) for line in printed[-4:]}) == 1
    train, test = [
        dict(type='Digits', split=split, indices=indices, pipeline=PACK)
        for split, indices in (('train', 400), ('test', 200))
    ]
    norm = SelfSupDataPreprocessor(**NORM)
    for row, backbone in [
        ('checkpoint', tiny_resnet(5)),
        ('random', build_backbone(digits_config(), 2)),
    ]:
        data = []
        for dataset in (train, test):
            data += extract_features(backbone, dataset, norm)
        expected = dict(
            knn200=knn_accuracy(*data, k=200),
            minent_linear=minent_linear_probe(*data, seed=2),
            svm=svm_score(*data, seed=2),
        )
        for k, value in low_shot(*data, seed=2).items():
            expected[f'lowshot{k}'] = value
        for name, fraction in (('semi1', 0.01), ('semi10', 0.1)):
            few = DATASETS.build(dict(type='LabelSubset', dataset=train, fraction=fraction, seed=2))
            expected[name] = finetune_accuracy(
                copy.deepcopy(backbone), norm, few, DATASETS.build(test), seed=2
            )
        found = {name: results[row][name] for name in expected}
        assert found == pytest.approx(expected, abs=1e-6), row
    # 1 % of 40 rows a class are 2 % of them.
    for name, fraction in protocols._TUNED.items():
        assert name == f'semi{100 * fraction:.0f}'


DATASETS.register_module('Colours', module=lambda: Images(3, shape=lambda i: (3, 16, 16)))
DATASETS.register_module('Unlabelled', module=lambda: Images(3, unlabelled=range(3)))


def test_tool_takes_the_data_of_another_config(checkpoint, tmp_path, monkeypatch):
    """Its labelled data sets, and nothing else of it."""
    data, out = tmp_path / 'data.py', tmp_path / 'results.json'
    train, test = [
        dict(type='Digits', split=split, indices=60, pipeline=PACK) for split in ('train', 'test')
    ]
    Config(
        dict(
            model=dict(type='Nothing'),
            data_preprocessor=dict(mean=[0.0], std=[1.0]),
            eval_datasets=dict(train=train, test=test),
        )
    ).dump(data)
    assert (
        run_tool(monkeypatch, checkpoint, '--protocols', 'knn', '--out', out, '--data', data) == 0
    )
    pairs = []
    for dataset in (train, test):
        pairs += extract_features(tiny_resnet(5), dataset, SelfSupDataPreprocessor(**NORM))
    assert json.loads(out.read_text()) == dict(
        checkpoint=dict(knn=pytest.approx(knn_accuracy(*pairs)))
    )
    # Options change the data that was taken.
    code = run_tool(
        monkeypatch, checkpoint, '--data', data, '--cfg-options', 'eval_datasets.test.split=val'
    )
    assert "'val'" in code
    # Before anything is computed.
    monkeypatch.setattr(protocols, 'extract_features', None)
    for entry, message in [
        (
            dict(type='DTD', data_root='nowhere', split='test'),
            'DTD in .*nowhere: the folder is missing',
        ),
        (dict(type='Colours'), 'images have 3 channels, but .* on 1'),
    ]:
        Config(dict(eval_datasets=dict(train=train, test=entry))).dump(data)
        code = run_tool(monkeypatch, checkpoint, '--data', data)
        assert re.search(message, code) and '\n' not in code


def test_tool_scores_multi_label_data_by_svm_only(tmp_path, monkeypatch):
    entry = dict(
        type='VOC',
        data_root='',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(16, 16)),
            dict(type='PackInputs', meta_keys=('gt_label_difficult',)),
        ],
    )
    train = fake_data.make(dict(entry, split='trainval'), tmp_path)
    config, out = tmp_path / 'config.py', tmp_path / 'results.json'
    model = dict(MODEL, backbone=dict(MODEL['backbone'], in_channels=3))
    Config(
        dict(
            model=model,
            data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3),
            train_dataloader=dict(dataset=dict(dataset=train)),
            eval_datasets=dict(train=train, test=dict(train, split='test')),
        )
    ).dump(config)
    torch.manual_seed(5)
    backbone = ResNet_CIFAR(depth=18, base_channels=8, stem_channels=8)
    torch.save(backbone.state_dict(), tmp_path / 'colour.pth')
    args = tmp_path / 'colour.pth', '--config', config, '--out', out
    assert run_tool(monkeypatch, *args, '--protocols', 'svm', '--pixels') == 0
    results = json.loads(out.read_text())
    assert list(results) == ['checkpoint', 'pixels']
    assert all(0 < row['svm'] <= 100 for row in results.values())

    # Before anything is computed, in one line.
    def fail(*args, **kwargs):
        raise AssertionError('computed')

    monkeypatch.setattr(protocols, 'extract_features', fail)
    for names in ('svm,knn', 'lowshot', 'semi1'):
        code = run_tool(monkeypatch, *args, '--protocols', names)
        assert code == (
            'error: data set VOC has several labels per image, '
            f'which {names.split(",")[-1]} cannot score: choose '
            'svm'
        )
    # Files are BGR until they are turned.
    cfg = Config.fromfile(config)
    to_rgb = dict(type='NumpyToPIL', to_rgb=True)
    to_bgr = dict(type='PILToNumpy', to_bgr=True)
    cfg.eval_datasets.train.pipeline[2:2] = [to_rgb, to_bgr]
    cfg.eval_datasets.test.pipeline[2:2] = [to_rgb]
    cfg.dump(config)
    code = run_tool(monkeypatch, *args, '--protocols', 'svm')
    assert code == (
        'error: data set VOC gives RGB, but the checkpoint was '
        'trained on BGR: convert in its pipeline, as by '
        'NumpyToPIL and PILToNumpy'
    )
    cfg.eval_datasets.test.pipeline[3:3] = [to_bgr]
    cfg.dump(config)
    with pytest.raises(AssertionError, match='computed'):
        protocols.evaluate_checkpoint(args[0], cfg, ['svm'])


def test_tool_takes_a_config_and_options(checkpoint, tmp_path, monkeypatch):
    bare = tmp_path / 'bare.pth'
    torch.save(tiny_resnet(5).state_dict(), bare)
    config = tmp_path / 'config.py'
    digits_config().dump(config)
    out = tmp_path / 'results.json'
    args = ('--protocols', 'knn', '--out', out)
    assert run_tool(monkeypatch, checkpoint, *args) == 0
    expected = json.loads(out.read_text())
    assert run_tool(monkeypatch, bare, '--config', config, *args) == 0
    assert json.loads(out.read_text()) == expected
    assert (
        run_tool(monkeypatch, checkpoint, *args, '--cfg-options', 'eval_datasets.train.indices=50')
        == 0
    )
    assert json.loads(out.read_text()) != expected

    seen = []

    def spy(*args, num_workers):
        seen.append((args[3], num_workers))
        return extract_features(*args)

    monkeypatch.setattr(protocols, 'extract_features', spy)
    assert run_tool(monkeypatch, checkpoint, *args, '--batch-size', 90, '--workers', 2) == 0
    assert seen == [(90, 2)] * 2


def test_tool_fails_in_one_line(checkpoint, tmp_path, monkeypatch):
    bare = tmp_path / 'bare.pth'
    torch.save(tiny_resnet().state_dict(), bare)
    option = '--cfg-options'
    unlabelled, empty = tmp_path / 'unlabelled.py', tmp_path / 'empty.py'
    dataset = dict(type='Unlabelled')
    Config(dict(eval_datasets=dict(train=dataset, test=dataset))).dump(unlabelled)
    empty.write_text('')
    for args, message in [
        (['nowhere.pth'], 'does not exist'),
        ([tmp_path], 'is a directory'),
        ([bare], 'holds no config'),
        ([checkpoint, '--protocols', 'tsne'], 'knn, knn200, knn5, linear'),
        ([checkpoint, '--branch', 'teacher'], 'no teacher'),
        ([checkpoint, '--out', tmp_path / 'no' / 'r.json'], 'no folder'),
        ([checkpoint, '--config', 'nowhere.py'], 'nowhere.py'),
        ([checkpoint, option, 'model.backbone.depth=34'], 'wrong depth'),
        ([checkpoint, option, 'model.backbone.type=ResNeXtra'], 'ResNeXtra'),
        ([checkpoint, option, 'model.type=Foo'], 'Foo'),
        ([checkpoint, option, 'eval_datasets.test.split=val'], "'val'"),
        ([checkpoint, option, 'eval_datasets.train.indices=5'], 'k must be'),
        (
            [checkpoint, '--protocols', 'lowshot', option, 'eval_datasets.train.indices=60'],
            'rows, fewer than 16 shots',
        ),
        ([checkpoint, '--data', 'nowhere.py'], 'nowhere.py'),
        (
            [checkpoint, '--data', unlabelled, '--protocols', 'semi1'],
            'data set Images lacks labels',
        ),
        ([checkpoint, '--data', empty], 'eval_datasets = dict'),
    ]:
        code = run_tool(monkeypatch, *args)
        assert isinstance(code, str) and code.startswith('error: '), args
        assert message in code and '\n' not in code, code
