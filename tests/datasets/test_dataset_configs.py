"""The data configs: views, evaluation, order of channels, against written-out numbers."""

import urllib.request
from pathlib import Path
from urllib.error import URLError

import fake_data
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image
from repository import recipe_on
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

# mmpretrain's reader of Fashion-MNIST warns once per label.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation')


@pytest.fixture(autouse=True)
def _scope_without_network(monkeypatch):
    init_default_scope('mmpretrain')

    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', no_network)


SHAPES = dict(
    cifar10=(3, 32, 32),
    cifar100=(3, 32, 32),
    fashion_mnist=(1, 28, 28),
    folder=(3, 224, 224),
    imagenet=(3, 224, 224),
    imagenet100=(3, 224, 224),
    imagenet_byol=(3, 224, 224),
    imagenet_simclr=(3, 224, 224),
    imagenet_multicrop=(3, 224, 224),
    places365=(3, 224, 224),
    stl10=(3, 64, 64),
    tiny_imagenet=(3, 64, 64),
)


COLOUR = sorted(set(SHAPES) - {'fashion_mnist'})


RED = (255, 0, 0)


def load_config(name: str, root: Path) -> Config:
    """The config, reading fake data below ``root``."""
    cfg = recipe_on(name)
    loader, sets = cfg.train_dataloader, cfg.get('eval_datasets', {})
    loader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
    loader.dataset = fake_data.make(loader.dataset, root)
    for key in sets:
        sets[key] = fake_data.make(sets[key], root)
    return cfg


@pytest.fixture
def red(monkeypatch):
    """Fake images are red all over."""

    def array(seed, *shape):
        if len(shape) == 4 or shape[-1] == 3072:  # STL-10 and CIFAR
            planes = np.repeat(np.uint8(RED), np.prod(shape[1:]) // 3)
            return np.tile(planes, (shape[0], 1)).reshape(shape)
        if shape[-1] == 3:
            return np.broadcast_to(np.uint8(RED), shape).copy()
        return np.full(shape, 76, np.uint8)

    monkeypatch.setattr(fake_data, 'noise', array)


@pytest.fixture
def any_checksum():
    with fake_data.any_checksum():
        yield


def multi_view(cfg: Config) -> dict:
    pipeline = cfg.train_dataloader.dataset.pipeline
    return next(t for t in pipeline if t.type == 'MultiView')


def colours(cfg: Config, gray: float = 0.0, hue: float = 0.0) -> Config:
    """Make the views gray with that probability and always shift the hue."""
    for view in multi_view(cfg).transforms:
        for t in view:
            if t.type.endswith('RandomGrayscale'):
                t['p' if t.type.startswith('torchvision') else 'prob'] = gray
            elif t.type == 'RandomApply':
                t.prob = 1.0
                t.transforms[0].update(brightness=0, contrast=0, saturation=0, hue=(hue, hue))
            elif t.type == 'Solarize':
                t.prob = 0.0
    return cfg


def first_views(cfg: Config) -> list:
    """The un-normalised views of the first batch and the normalised ones."""
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    preprocess = MODELS.build(cfg.data_preprocessor)
    return batch['inputs'], preprocess(batch, True)['inputs']


@pytest.mark.slow
@pytest.mark.parametrize('name', SHAPES)
def test_config_views(name, tmp_path, any_checksum):
    cfg = load_config(name, tmp_path)
    assert {'data_preprocessor', 'train_dataloader'} <= set(cfg)
    assert ('eval_datasets' in cfg) == (name != 'folder')
    assert cfg.train_dataloader.drop_last
    raw, views = first_views(cfg)
    shapes = [SHAPES[name]] * 2
    if name == 'imagenet_multicrop':
        shapes += [(3, 96, 96)] * 6
    assert [v.shape for v in views] == [(2, *shape) for shape in shapes]
    assert raw[0].dtype == torch.uint8 and views[0].dtype == torch.float32
    assert not torch.equal(views[0], views[1])


PLAIN = dict(
    stl10=v2.Compose([v2.Resize(70, v2.InterpolationMode.BICUBIC), v2.CenterCrop(64)]),
    imagenet100=v2.Compose([v2.Resize(256), v2.CenterCrop(224)]),
)


VAL = ('imagenet100', 'tiny_imagenet')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['cifar10', 'cifar100', 'fashion_mnist', 'stl10', *VAL])
def test_config_evaluation(name, tmp_path, any_checksum):
    """Resized and cropped as the paper says, not augmented, and RGB."""
    for split, cfg in load_config(name, tmp_path).eval_datasets.items():
        dataset = DATASETS.build(cfg)
        assert dataset.split == ('val' if name in VAL and split == 'test' else split)
        info, sample = dataset.get_data_info(1), dataset[1]
        if 'img' in info:
            image = Image.fromarray(info['img'])
        else:
            image = Image.open(info['img_path']).convert('RGB')
        expected = pil_to_tensor(PLAIN.get(name, lambda image: image)(image))
        assert torch.equal(sample['inputs'], expected)
        assert sample['inputs'].shape == SHAPES[name]
        assert sample['data_samples'].gt_label == info['gt_label']


@pytest.mark.slow
@pytest.mark.parametrize('name', COLOUR)
def test_channel_order_of_grayscale(name, tmp_path, red, any_checksum):
    """Red becomes 0.299 * 255, not the 0.114 * 255 of blue."""
    cfg = colours(load_config(name, tmp_path), gray=1.0)
    for view in first_views(cfg)[0]:
        # JPEG makes 254 of 255.
        assert (view.int() - 76).abs().max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize('name', COLOUR)
def test_channel_order_of_hue(name, tmp_path, red, any_checksum):
    """A third of the circle on from red is green."""
    cfg = colours(load_config(name, tmp_path), hue=1 / 3)
    for view in first_views(cfg)[0]:
        channels = view.float().mean((0, 2, 3))
        assert channels.argmax() == 1 and channels[1] > 250
        assert channels[[0, 2]].max() < 8


@pytest.mark.slow
@pytest.mark.parametrize('name', COLOUR)
def test_channel_order_of_normalisation(name, tmp_path, red, any_checksum):
    cfg = colours(load_config(name, tmp_path))
    mean, std = map(torch.tensor, (cfg.data_preprocessor.mean, cfg.data_preprocessor.std))
    # The published values, red first: red is the largest everywhere.
    assert mean.argmax() == 0
    expected = (torch.tensor(RED) - mean) / std
    preprocess = MODELS.build(cfg.data_preprocessor)
    views = first_views(cfg)[1]
    for dataset in cfg.get('eval_datasets', {}).values():
        batch = dict(inputs=DATASETS.build(dataset)[0]['inputs'][None])
        views.append(preprocess(dict(batch, data_samples=None))['inputs'])
    for view in views:
        torch.testing.assert_close(view.mean((0, 2, 3)), expected, rtol=0, atol=0.05)


# crop, smallest share, jitter, gray, blur, mean, std: config.py, data.py and
# runner.py of LiShuo1001/MinEnt@d17ed2f
C10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


STL = (0.43, 0.42, 0.39), (0.27, 0.26, 0.27)


TINY = (0.480, 0.448, 0.398), (0.277, 0.269, 0.282)


IN = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


MINENT = dict(
    cifar10=(32, 0.2, (0.4, 0.4, 0.4, 0.1), 0.1, False, *C10),
    stl10=(64, 0.2, (0.4, 0.4, 0.4, 0.1), 0.1, False, *STL),
    tiny_imagenet=(64, 0.2, (0.4, 0.4, 0.4, 0.1), 0.1, False, *TINY),
    imagenet100=(224, 0.08, (0.8, 0.8, 0.8, 0.2), 0.2, True, *IN),
)


@pytest.mark.slow
@pytest.mark.parametrize('name', MINENT)
def test_views_of_minent(name):
    size, share, strength, gray, blur, mean, std = MINENT[name]
    cfg = recipe_on(name)
    steps = multi_view(cfg)
    assert steps.num_views == [2] and cfg.train_dataloader.batch_size == 128
    jitter, grayscale, crop, flip, *rest = steps.transforms[0]
    inner = jitter.transforms[0]
    assert [t.type.split('/')[-1] for t in (inner, grayscale, crop, flip)] == [
        'ColorJitter',
        'RandomGrayscale',
        'RandomResizedCrop',
        'RandomHorizontalFlip',
    ]
    values = inner.brightness, inner.contrast, inner.saturation, inner.hue
    assert values == strength and jitter.prob == 0.8
    assert grayscale.p == gray and flip.p == 0.5
    assert (crop.size, crop.scale) == (size, (share, 1.0))
    assert crop.interpolation == 'bicubic' and 'ratio' not in crop
    assert bool(rest) == blur
    if blur:
        assert rest[-1] == dict(
            type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5
        )
    for key, values in (('mean', mean), ('std', std)):
        assert cfg.data_preprocessor[key] == pytest.approx([255 * v for v in values])


def test_views_of_simsiam_on_cifar10():
    """facebookresearch/simsiam@a7bc177:main_simsiam.py#L228-L240 without the blur.

    Appendix D of arXiv 2011.10566 leaves it out on CIFAR-10.
    """
    steps = multi_view(recipe_on('cifar10_simsiam'))
    crop, jitter, gray, flip = steps.transforms[0]
    assert steps.num_views == [2]
    assert crop.type == 'torchvision/RandomResizedCrop'
    assert (crop.size, crop.scale, crop.interpolation) == (32, (0.2, 1.0), 'bilinear')
    inner = jitter.transforms[0]
    assert (inner.brightness, inner.contrast, inner.saturation, inner.hue) == (0.4, 0.4, 0.4, 0.1)
    assert (jitter.prob, gray.p, flip.p) == (0.8, 0.2, 0.5)


def test_views_of_multicrop():
    """MoCo v3's global views and SwAV's local ones, but for the crops."""

    def crop(view):
        return view[0].scale, view[0].crop_ratio_range

    plain, multi = [multi_view(recipe_on(name)) for name in ('imagenet', 'imagenet_multicrop')]
    first, second, local = multi.transforms
    assert multi.num_views == [1, 1, 6]
    assert crop(first) == crop(second) == (224, (0.14, 1.0))
    assert crop(local) == (96, (0.05, 0.14))

    def steps(view):
        return [{k: v for k, v in t.items() if k != '_scope_'} for t in view]

    for a, b in zip(plain.transforms, multi.transforms):
        assert steps(a)[1:] == steps(b)[1:]
    jitter, gray, blur, flip = local[1:]
    assert [t.type for t in local[2:]] == ['RandomGrayscale', 'GaussianBlur', 'RandomFlip']
    assert jitter.transforms[0] == dict(
        type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2
    )
    assert (jitter.prob, gray.prob, blur.prob, flip.prob) == (0.8, 0.2, 0.5, 0.5)
