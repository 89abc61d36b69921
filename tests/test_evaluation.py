"""Features, kNN, linear probe and the tool that runs them."""
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmpretrain.models import (
    ClsDataPreprocessor,
    ResNet_CIFAR,
    SelfSupDataPreprocessor,
    VisionTransformer,
)
from mmpretrain.structures import DataSample
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from mmentropy.datasets import Digits
from mmentropy.evaluation import (
    build_backbone,
    build_data_preprocessor,
    eval_datasets,
    extract_features,
    knn_accuracy,
    knn_predict,
    linear,
    linear_probe,
    parse_protocols,
    pixel_features,
)
from mmentropy.evaluation import knn as knn_module

TOOL = Path(__file__).parents[1] / 'tools' / 'evaluate.py'
PACK = [dict(type='PackInputs')]
NORM = dict(mean=[100.], std=[50.])


class Images(torch.utils.data.Dataset):
    """Random (1, 16, 16) images; row i has label i."""

    def __init__(self, size, unlabelled=(), shape=lambda i: (1, 16, 16)):
        rng = np.random.default_rng(0)
        self.images = [
            torch.from_numpy(rng.integers(0, 256, shape(i), dtype=np.uint8))
            for i in range(size)
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
    return ResNet_CIFAR(
        depth=18, base_channels=8, stem_channels=8, in_channels=1)


def by_hand(backbone, images, mean=100., std=50.):
    x = (torch.stack(images.images).float() - mean) / std
    # mmpretrain's train() returns nothing, so no chain.
    backbone.eval()
    with torch.no_grad():
        return backbone(x)[-1].mean((2, 3))


# ---------------------------------------------------------------- features


@pytest.mark.parametrize('batch_size', [2, 3, 16])
@pytest.mark.parametrize('preprocessor',
                         [SelfSupDataPreprocessor, ClsDataPreprocessor])
def test_features_are_those_of_the_backbone(batch_size, preprocessor):
    backbone, images = tiny_resnet(), Images(7)
    x, y = extract_features(backbone, images, preprocessor(**NORM),
                            batch_size)
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert y.tolist() == list(range(7))
    torch.testing.assert_close(
        x, by_hand(backbone, images), rtol=1e-5, atol=1e-6)


def test_features_take_the_preprocessor_of_the_model():
    model = nn.Module()
    model.backbone = tiny_resnet()
    model.data_preprocessor = SelfSupDataPreprocessor(**NORM)
    x, _ = extract_features(model, Images(3))
    torch.testing.assert_close(
        x, by_hand(model.backbone, Images(3)), rtol=1e-5, atol=1e-6)


def test_features_leave_the_model_as_it_was():
    backbone = tiny_resnet()
    backbone.layer2.eval()
    modes = [m.training for m in backbone.modules()]
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    random_state = torch.get_rng_state()
    x, _ = extract_features(backbone, Images(5), dict(
        type='SelfSupDataPreprocessor', **NORM))
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)
    assert modes == [m.training for m in backbone.modules()]
    assert True in modes and False in modes
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_features_restore_modes_after_an_error():
    backbone = tiny_resnet()
    with pytest.raises(ValueError, match='lacks labels'):
        extract_features(backbone, Images(3, [1]),
                         SelfSupDataPreprocessor(**NORM))
    assert all(m.training for m in backbone.modules())


@pytest.mark.parametrize('out_type', ['cls_token', 'raw', 'featmap'])
def test_features_of_vit(out_type):
    torch.manual_seed(0)
    arch = dict(
        embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    vit = VisionTransformer(
        arch, img_size=16, patch_size=4, in_channels=1, out_type=out_type)
    vit.init_weights()
    images = Images(3)
    x, _ = extract_features(vit, images, SelfSupDataPreprocessor(**NORM))
    vit.out_type = 'raw'
    with torch.no_grad():
        tokens = vit((torch.stack(images.images) - 100.) / 50.)[-1]
    expected = tokens[:, 1:].mean(1) if out_type == 'featmap' else tokens[:, 0]
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dataset, message', [
    (Images(3, [2]), r'^data set Images \(3 rows\) lacks labels .*split'),
    (Images(0), 'empty'),
    (Images(3, shape=lambda i: (1, 8, 8 + i)), 'different sizes'),
    ([dict(inputs=[torch.zeros(1, 8, 8)] * 2)], 'several views'),
    ([dict(img=torch.zeros(1, 8, 8))], 'PackInputs'),
    ([dict(inputs=torch.zeros(1, 8, 8))], 'lacks labels'),
])
def test_features_refuse_in_one_line(dataset, message):
    with pytest.raises(ValueError, match=message) as error:
        extract_features(tiny_resnet(), dataset,
                         SelfSupDataPreprocessor(**NORM))
    assert '\n' not in str(error.value)


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
    bad = [dict(inputs=torch.full((1, 2, 2), 3.), data_samples=None)]
    with pytest.raises(ValueError, match='0..1'):
        pixel_features(bad)


def _extract_on_two_ranks(rank, folder):
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank,
        world_size=2)
    results = {}
    for size in (1, 2, 7, 9):
        results[size] = extract_features(
            tiny_resnet(), Images(size), SelfSupDataPreprocessor(**NORM),
            batch_size=2)
    results['pixels'] = pixel_features(Images(7), batch_size=2)
    # Only the second rank meets the unlabelled row; both have to raise.
    try:
        extract_features(tiny_resnet(), Images(7, [3]),
                         SelfSupDataPreprocessor(**NORM), batch_size=2)
    except ValueError as error:
        results['error'] = str(error)
    torch.save(results, f'{folder}/{rank}.pt')
    dist.destroy_process_group()


def test_two_ranks_get_all_rows_in_order(tmp_path):
    torch.multiprocessing.spawn(
        _extract_on_two_ranks, (str(tmp_path), ), nprocs=2)
    for rank in range(2):
        results = torch.load(tmp_path / f'{rank}.pt')
        for size in (1, 2, 7, 9):
            x, y = results[size]
            assert y.tolist() == list(range(size))
            torch.testing.assert_close(
                x, by_hand(tiny_resnet(), Images(size)), rtol=1e-5, atol=1e-6)
        pixels = torch.stack(Images(7).images).flatten(1) / 255
        torch.testing.assert_close(results['pixels'][0], pixels)
        assert 'lacks labels' in results['error']


# --------------------------------------------------------------------- kNN


@pytest.fixture(scope='module')
def digits():
    pairs = []
    for split in ('train', 'test'):
        pairs += pixel_features(
            dict(type='Digits', split=split, pipeline=PACK))
    return pairs


@pytest.mark.parametrize('k', [1, 4, 20])
@pytest.mark.parametrize('temperature', [0.07, 1.])
def test_cosine_knn_equals_scikit_learn(digits, k, temperature):
    train_x, train_y, test_x, test_y = digits
    witness = KNeighborsClassifier(
        k,
        metric='cosine',
        algorithm='brute',
        weights=lambda distance: np.exp((1 - distance) / temperature))
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
    assert knn_accuracy(train_x, train_y, test_x, test_y, k, 'euclidean') == \
        pytest.approx(100 * witness.score(test_x.double(), test_y), abs=1e-9)


def test_knn_metrics_and_temperature_differ_where_they_should():
    # By angle the nearest is class 1, by distance class 0.
    x, y = torch.tensor([[1., 1.], [10., 0.]]), torch.tensor([0, 1])
    query = torch.tensor([[2., .5]])
    assert knn_predict(x, y, query, 1).item() == 1
    assert knn_predict(x, y, query, 1, 'euclidean').item() == 0
    # One close vote against two far ones: the temperature decides.
    x = torch.tensor([[1., 0.], [.6, .8], [.6, -.8]])
    y = torch.tensor([1, 0, 0])
    query = torch.tensor([[3., 0.]])
    assert knn_predict(x, y, query, 3, temperature=.1).item() == 1
    assert knn_predict(x, y, query, 3, temperature=10.).item() == 0
    assert knn_predict(x, y, query, 3, temperature=1e-4).item() == 1


def test_knn_tie_goes_to_the_lowest_class():
    x = torch.tensor([[1.], [-1.], [2.], [-2.]])
    for y in ([2, 1, 1, 2], [1, 2, 2, 1]):
        found = knn_predict(x, torch.tensor(y), torch.zeros(1, 1), 4,
                            'euclidean')
        assert found.item() == 1


@pytest.mark.parametrize('metric', ['cosine', 'euclidean'])
def test_knn_blocks_do_not_change_the_result(digits, metric, monkeypatch):
    train_x, train_y, test_x, _ = digits
    whole = knn_predict(train_x, train_y, test_x, 5, metric)
    monkeypatch.setattr(knn_module, '_BLOCK', 7 * len(train_x))
    assert torch.equal(whole, knn_predict(train_x, train_y, test_x, 5, metric))


def test_knn_refuses_in_one_line():
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    broken = torch.tensor([[1., float('nan')]])
    for args, message in [
        ((x, y, x, 5), r'k must be in 1\.\.4'),
        ((x, y, x, 0), 'k must be'),
        ((x, y, x, 1, 'manhattan'), 'metric must be'),
        ((x, y, x, 1, 'cosine', 0.), 'temperature'),
        ((x, y, x, 1, 'cosine', 1., 1), 'num_classes'),
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
    assert found.learning_rate in found.val_accuracies


def test_linear_probe_follows_torch_sgd(digits):
    """The hand-written step equals autograd, SGD and its cosine schedule."""
    x, y, test_x, test_y = digits[0][:96], digits[1][:96], *digits[2:]
    fit = dict(num_classes=10, epochs=4, batch_size=40, weight_decay=.01,
               seed=3)
    (accuracy, loss), = linear._fit(x, y, test_x, test_y, [.5], **fit)
    norm = nn.BatchNorm1d(64, eps=1e-6, affine=False, momentum=1.).double()
    norm(x.double())
    # Torch keeps the unbiased variance.
    norm.running_var *= 95 / 96
    norm.eval()
    layer = nn.Linear(64, 10).double()
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(
        [dict(params=[layer.weight], weight_decay=.01),
         dict(params=[layer.bias])], lr=.5, momentum=.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        for rows in torch.randperm(96, generator=generator).split(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                layer(norm(x[rows].double())), y[rows]).backward()
            optimizer.step()
            scheduler.step()
    logits = layer(norm(test_x.double()))
    expected = nn.functional.cross_entropy(logits, test_y)
    assert -loss == pytest.approx(expected.item(), rel=1e-4)
    expected = (logits.argmax(1) == test_y).double().mean()
    assert accuracy == pytest.approx(100 * expected.item(), abs=1e-9)


def test_linear_rates_trained_at_once_equal_separate_ones(digits):
    rates, fit = [.003, .1, 1.], dict(
        num_classes=10, epochs=3, batch_size=100, weight_decay=1e-3, seed=1)
    together = linear._fit(*digits, rates, **fit)
    for rate, scores in zip(rates, together, strict=True):
        alone, = linear._fit(*digits, [rate], **fit)
        assert alone == pytest.approx(scores, rel=1e-6)


def test_linear_rate_is_not_chosen_on_the_test_set(digits):
    train_x, train_y, test_x, test_y = digits
    one = linear_probe(train_x, train_y, test_x, test_y, epochs=5)
    other = linear_probe(train_x, train_y, test_x.flip(0), test_y, epochs=5)
    assert one[1:] == other[1:]
    assert other.accuracy < 30 < one.accuracy


def test_linear_held_out_rows_are_a_tenth_of_each_class():
    labels = torch.arange(400) % 4
    masks = [
        linear._stratified_tenth(labels, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
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
    other = linear_probe(train_x * scale + 7, train_y, test_x * scale + 7,
                         test_y, epochs=10)
    assert abs(one.accuracy - other.accuracy) <= 1


def test_linear_probe_says_when_nothing_converges(digits):
    with pytest.raises(ValueError, match='diverged'):
        linear_probe(*digits, learning_rates=[1e30], weight_decay=1.,
                     epochs=2)
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    for args, message in [
        ((x, y, x[:, :1], y), r'\(4, 1\)'),
        ((x, y[:3], x, y), 'train_x has 4 rows'),
        ((x / 0 * 0, y, x, y), 'train_x has non-finite features in 4 of 4'),
        ((x, y - 1, x, y), 'negative'),
        ((x, y, x, y, ()), 'learning_rates'),
        ((x, y, x, y, (.1, ), 0), 'epochs'),
    ]:
        with pytest.raises(ValueError, match=message):
            linear_probe(*args)


# ------------------------------------------------------ protocols and tool

MODEL = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        base_channels=8,
        stem_channels=8,
        in_channels=1,
        init_cfg=dict(type='Pretrained', checkpoint='/nowhere.pth')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64))


def digits_config(**kwargs):
    train, test = [
        dict(type='Digits', split=split, indices=200, pipeline=PACK)
        for split in ('train', 'test')
    ]
    return Config(
        dict(
            model=MODEL,
            data_preprocessor=NORM,
            **kwargs or dict(eval_datasets=dict(train=train, test=test))))


def test_parse_protocols_lists_the_choices():
    assert parse_protocols('knn, linear') == ['knn', 'linear']
    for text in ('knn,svm', ''):
        with pytest.raises(ValueError, match='choose from knn, knn5, linear'):
            parse_protocols(text)


def test_eval_datasets_of_an_ordinary_config():
    noisy = [dict(type='RandomFlip', prob=.5), *PACK]
    digits = dict(type='Digits', pipeline=noisy)
    cfg = digits_config(
        train_dataloader=dict(
            dataset=dict(type='RepeatDataset', times=3, dataset=digits)),
        test_dataloader=dict(
            dataset=dict(type='Digits', split='test', pipeline=PACK)))
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
    torch.save(
        dict(state_dict=state, meta=dict(cfg=digits_config().pretty_text)),
        path)
    return path


def test_tool_scores_checkpoint_and_baselines(checkpoint, tmp_path,
                                              monkeypatch, capsys):
    out = tmp_path / 'results.json'
    assert run_tool(monkeypatch, checkpoint, '--protocols', 'knn,knn5,linear',
                    '--random', '--pixels', '--out', out) == 0
    results = json.loads(out.read_text())
    assert list(results) == ['checkpoint', 'random', 'pixels']
    assert all(list(r) == ['knn', 'knn5', 'linear'] for r in results.values())
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in printed[-3:]]
    assert {row[0]: [float(v) for v in row[1:]] for row in rows} == {
        name: [round(v, 2) for v in scores.values()]
        for name, scores in results.items()
    }
    assert len({len(line) for line in printed[-4:]}) == 1

    # The same by hand.
    data = []
    for split in ('train', 'test'):
        data += extract_features(
            tiny_resnet(5),
            dict(type='Digits', split=split, indices=200, pipeline=PACK),
            SelfSupDataPreprocessor(**NORM))
    assert results['checkpoint'] == pytest.approx(
        dict(
            knn=knn_accuracy(*data),
            knn5=knn_accuracy(*data, k=5, metric='euclidean'),
            linear=linear_probe(*data).accuracy),
        abs=1e-6)
    assert results['random'] != results['checkpoint']


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
    assert run_tool(monkeypatch, checkpoint, *args, '--cfg-options',
                    'eval_datasets.train.indices=50') == 0
    assert json.loads(out.read_text()) != expected


def test_tool_fails_in_one_line(checkpoint, tmp_path, monkeypatch):
    bare = tmp_path / 'bare.pth'
    torch.save(tiny_resnet().state_dict(), bare)
    option = '--cfg-options'
    for args, message in [
        (['nowhere.pth'], 'does not exist'),
        ([tmp_path], 'is a directory'),
        ([bare], 'holds no config'),
        ([checkpoint, '--protocols', 'svm'], 'knn, knn5, linear'),
        ([checkpoint, '--branch', 'teacher'], 'no teacher'),
        ([checkpoint, '--out', tmp_path / 'no' / 'r.json'], 'no folder'),
        ([checkpoint, '--config', 'nowhere.py'], 'nowhere.py'),
        ([checkpoint, option, 'model.backbone.depth=34'], 'wrong depth'),
        ([checkpoint, option, 'model.backbone.type=ResNeXtra'], 'ResNeXtra'),
        ([checkpoint, option, 'model.type=Foo'], 'Foo'),
        ([checkpoint, option, 'eval_datasets.test.split=val'], "'val'"),
        ([checkpoint, option, 'eval_datasets.train.indices=5'], 'k must be'),
    ]:
        code = run_tool(monkeypatch, *args)
        assert isinstance(code, str) and code.startswith('error: '), args
        assert message in code and '\n' not in code, code
