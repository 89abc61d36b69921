"""What only a CUDA card can show; without one all of it is skipped."""

import copy
import os

# cuBLAS repeats its results with this, which it reads when the card is used first.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

import networks  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from batch_views import BLUR, CROP, FLIP, PHOTOS, tensor, views_of  # noqa: E402
from mmengine.model import MMDistributedDataParallel  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmpretrain.registry import DATASETS, MODELS  # noqa: E402
from safe_runs import config, log_of, resumed, same, train, weights  # noqa: E402
from torch import nn  # noqa: E402

from mmentropy.distributed import all_sum, gather  # noqa: E402
from mmentropy.engine.exact_accumulation import accumulate_exactly  # noqa: E402
from mmentropy.engine.hooks.resident_images import ResidentLoader, decoded  # noqa: E402
from mmentropy.evaluation import knn_predict, linear_probe  # noqa: E402
from mmentropy.functional import sphere  # noqa: E402

CARD = torch.device('cuda')
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA card')


@pytest.fixture(autouse=True)
def exact():
    """Convolutions in float32, by algorithms that repeat themselves."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def nccl(tmp_path, monkeypatch):
    """A process group of this process alone."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    torch.cuda.set_device(0)
    dist.init_process_group('nccl', f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def slow_config(folder, lr=0.003, **changes):
    """A training of four steps that are so small that rounding does not grow."""
    cfg = config(folder, epochs=2)
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.neck.in_channels = 64
    cfg.train_dataloader.batch_size = 8
    cfg.optim_wrapper.optimizer.lr = lr
    cfg.merge_from_dict(changes)
    return cfg


def close(ours, theirs, tol):
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=tol, atol=tol, msg=key)


def in_double(name):
    """A network of a method, and two views or four images each."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(2, 16, 3, 16, 16, generator=generator, dtype=torch.float64)
    return networks.build(name).double(), views


def step(model, views):
    """Loss and gradients, on the CPU."""
    torch.manual_seed(2)
    loss, _ = model.parse_losses(model(list(views), mode='loss'))
    loss.backward()
    found = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return dict(found, loss=loss.detach().cpu())


@pytest.mark.parametrize('name', networks.HEADS)
def test_loss_and_gradient_equal_those_of_the_cpu(name, training):
    model, views = in_double(name)
    on_card = copy.deepcopy(model).to(CARD)
    close(step(on_card, views.to(CARD)), step(model, views), 1e-8)


@pytest.mark.parametrize('name', ['mec', 'er_byol', 'dino_er', 'minent', 'vicreg'])
def test_parts_have_the_gradient_of_the_whole(name, training):
    model, views = in_double(name)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    parts = copy.deepcopy(model).to(CARD)
    accumulate_exactly(parts, 4)
    close(step(parts, views.to(CARD)), step(model.to(CARD), views.to(CARD)), 1e-9)


def test_accumulation_needs_less_memory(training):
    peaks = []
    for parts in (1, 8):
        model = networks.build('mec').to(CARD)
        accumulate_exactly(model, parts)
        views = torch.randn(2, 512, 3, 32, 32, device=CARD)
        step(model, views[:, :64])
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(model, views)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 0.3 * peaks[0]


def test_gather_and_all_sum_on_one_nccl_rank(nccl):
    x = torch.randn(4, 3, device=CARD, requires_grad=True)
    (gather(x).sum() + all_sum(x).sum()).backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))
    total = x.detach().clone()
    dist.all_reduce(total)
    assert torch.equal(total, x.detach())


def test_training_on_one_nccl_rank(tmp_path, nccl):
    alone = weights(train(slow_config(tmp_path / 'alone')))
    runner = train(slow_config(tmp_path / 'rank', launcher='pytorch'))
    assert isinstance(runner.model, MMDistributedDataParallel)
    assert dist.get_backend() == 'nccl'
    close(weights(runner), alone, 1e-4)


def test_global_batch_norm_is_that_of_torch():
    init_default_scope('mmpretrain')
    norm = MODELS.build(dict(type='GlobalBN', num_features=3)).to(CARD)
    assert type(norm) is nn.SyncBatchNorm
    x = torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(norm(x.to(CARD)).cpu(), nn.BatchNorm2d(3)(x))


@pytest.mark.parametrize('kind', ['AmpOptimWrapper', 'BFloat16OptimWrapper'])
def test_half_precision_leaves_bad_iterations_out(tmp_path, kind):
    """An image of each epoch is not finite."""
    cfg = config(tmp_path, epochs=2, spoilt=[5])
    cfg.optim_wrapper.type = kind
    runner = train(cfg)
    assert next(runner.model.parameters()).device.type == CARD.type
    assert runner.message_hub.get_info('non_finite') == 2
    assert '1 of 4 images are not finite themselves' in log_of(runner)
    assert all(value.isfinite().all() for value in weights(runner).values())


def test_float16_scales_the_loss_and_trains(tmp_path):
    half = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.loss_scale': 1024.0}
    runners = [
        train(slow_config(tmp_path / 'start', lr=0.0)),
        train(slow_config(tmp_path / 'whole')),
        train(slow_config(tmp_path / 'half', **half)),
    ]
    assert runners[2].optim_wrapper.loss_scaler.get_scale() == 1024
    start, whole, found = [
        nn.utils.parameters_to_vector(runner.model.backbone.parameters()) for runner in runners
    ]
    assert (found - whole).norm() < 0.2 * (whole - start).norm()


@pytest.mark.parametrize(
    'changes',
    [
        dict(custom_hooks=[dict(type='ChannelsLastHook')]),
        {'optim_wrapper.optimizer.fused': True},
        {
            'custom_hooks': [dict(type='ChannelsLastHook')],
            'optim_wrapper.optimizer.fused': True,
        },
    ],
    ids=['channels_last', 'fused', 'both'],
)
def test_fast_forms_change_rounding_only(tmp_path, changes):
    plain = weights(train(slow_config(tmp_path / 'plain')))
    close(weights(train(slow_config(tmp_path / 'fast', **changes))), plain, 1e-4)


def test_resumed_run_ends_bit_for_bit_the_same(tmp_path):
    whole, rest = [config(tmp_path / name) for name in ('whole', 'rest')]
    whole.default_hooks.checkpoint.max_keep_ckpts = -1
    for cfg in (whole, rest):
        cfg.randomness.deterministic = True
    expected = weights(train(whole))
    same(weights(resumed(rest, tmp_path / 'whole/epoch_1.pth')), expected)


def test_views_equal_those_of_the_cpu():
    colours = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    transforms = [
        CROP | dict(scale=32),
        FLIP,
        colours,
        dict(type='RandomGrayscale', prob=0.5, keep_channels=True),
        BLUR,
    ]
    images = tensor(PHOTOS).to(torch.uint8).repeat(8, 1, 1, 1)
    found = [
        views_of(*transforms, num_views=2, seed=3).to(device)(dict(inputs=images), True)['inputs']
        for device in (CARD, 'cpu')
    ]
    for ours, theirs in zip(*found, strict=True):
        assert ours.device.type == CARD.type
        difference = (ours.cpu() - theirs).abs()
        # The crop rounds to whole numbers, some the other way, which colours then enlarge.
        assert difference.mean() < 0.01 and difference.max() < 6


def test_resident_images_are_on_the_card():
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(dict(type='Digits', indices=20, pipeline=[dict(type='PackImage')]))
    images = decoded(dataset, CARD)
    assert images.device.type == CARD.type
    assert torch.equal(images.cpu(), decoded(dataset, torch.device('cpu')))
    loader = torch.utils.data.DataLoader(dataset, batch_size=4)
    batch = next(iter(ResidentLoader(loader, images)))['inputs']
    assert torch.equal(batch, images[:4])


def test_knn_equals_that_of_the_cpu():
    labels = torch.arange(200) % 4
    train_x, test_x = (torch.randn(n, 8) + labels[:n, None] for n in (200, 50))
    expected = knn_predict(train_x, labels, test_x)
    found = knn_predict(train_x.to(CARD), labels.to(CARD), test_x.to(CARD))
    assert torch.equal(found.cpu(), expected)


def test_linear_probe_is_near_that_of_the_cpu():
    labels = torch.arange(400) % 4
    rows = torch.randn(400, 8) + labels[:, None]
    data = rows[:300], labels[:300], rows[300:], labels[300:]
    found = linear_probe(*[part.to(CARD) for part in data], epochs=5)
    assert abs(found.accuracy - linear_probe(*data, epochs=5).accuracy) <= 1


def test_entropy_equals_that_of_the_cpu_in_float32():
    rows = nn.functional.normalize(torch.randn(512, 64))
    found = sphere.sphere_entropy(rows.to(CARD), 10.0)
    torch.testing.assert_close(found.cpu(), sphere.sphere_entropy(rows, 10.0), rtol=1e-4, atol=1e-4)
