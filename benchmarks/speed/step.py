"""Time of a training step: MEC in each precision and layout, and others.

python benchmarks/speed/step.py                  # the network of Fashion-MNIST
python benchmarks/speed/step.py --network r18    # ResNet-18 of CIFAR-10

All variants live in one process and take turns, so that a change in the
machine's load meets all of them; medians over the rounds. A step is one
iteration of mmengine's training loop, hooks and logging included, on a batch
of noise in memory. With one thread the clock is CPU time, which other
processes change little. Where there is a CUDA card, all steps run on it.
"""

import argparse
import copy
import logging
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from device_clock import device_clock
from machine import machine
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models.utils import CosineEMA
from mmpretrain.registry import DATASETS, LOOPS, MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmentropy.engine.train_loop import EpochTrainLoop
from mmentropy.models.optimizer_steps import ITERATIONS_PER_STEP

NETWORKS = dict(
    r18s=dict(
        mec='configs/mec/r18s_1xb128_6e_fashion_mnist.py',
        byol='configs/baselines/byol_r18s_1xb128_6e_fashion_mnist.py',
        simsiam='configs/baselines/simsiam_r18s_1xb128_6e_fashion_mnist.py',
    ),
    r18=dict(
        mec='configs/mec/r18_1xb1024_600e_cifar10.py',
        byol='configs/baselines/byol_r18_1xb512_200e_cifar10.py',
        simsiam='configs/baselines/simsiam_r18_1xb512_200e_cifar10.py',
    ),
)
BFLOAT16 = dict(type='BFloat16OptimWrapper')
FUSED = dict(optimizer=dict(fused=True))
LAYOUT = [dict(type='ChannelsLastHook')]
VARIANTS = {
    'mmpretrain BYOL': dict(method='byol'),
    'mmpretrain SimSiam': dict(method='simsiam'),
    'MEC, EMA of mmpretrain': dict(ema=CosineEMA),
    'MEC': dict(),
    'MEC, channels_last': dict(custom_hooks=LAYOUT),
    'MEC, bfloat16': dict(optim_wrapper=BFLOAT16),
    'MEC, bfloat16, channels_last': dict(optim_wrapper=BFLOAT16, custom_hooks=LAYOUT),
    'MEC, bfloat16, channels_last, fused': dict(
        optim_wrapper=BFLOAT16 | FUSED, custom_hooks=LAYOUT
    ),
}
FASTEST = 'MEC, bfloat16, channels_last, fused'
BASELINE = 'mmpretrain BYOL'
Step = Callable[[], object]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--network', choices=NETWORKS, default='r18s')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--pixels', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--threads', type=int, default=1)
    return parser.parse_args()


@DATASETS.register_module()
class NoiseViews(Dataset):
    """Two views of noise for each of ``size`` images."""

    def __init__(self, size: int, channels: int, pixels: int) -> None:
        self.views = torch.randint(256, (size, 2, channels, pixels, pixels), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=list(self.views[index]), data_samples=DataSample())


@LOOPS.register_module()
class PausedLoop(EpochTrainLoop):
    """Begins to train, and leaves the iterations to the caller."""

    def run(self) -> nn.Module:
        self.runner.message_hub.update_info(ITERATIONS_PER_STEP, 1)
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        return self.runner.model


def runner_of(args: argparse.Namespace, name: str, folder: str) -> Runner:
    """A Runner of this variant, set to train."""
    changes = dict(VARIANTS[name])
    ema = changes.pop('ema', None)
    method = changes.pop('method', 'mec')
    cfg = Config.fromfile(NETWORKS[args.network][method])
    data = dict(
        type='NoiseViews', size=args.batch * 100, channels=args.channels, pixels=args.pixels
    )
    cfg.train_dataloader = dict(
        batch_size=args.batch,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=data,
    )
    cfg.train_cfg.type = 'PausedLoop'
    cfg.custom_hooks = []
    cfg.log_level = 'ERROR'
    cfg.work_dir = folder
    cfg.experiment_name = name
    cfg.merge_from_dict(changes)
    runner = Runner.from_cfg(cfg)
    if ema is not None:
        model = runner.model
        model.target_net = ema(
            nn.Sequential(model.backbone, model.neck), momentum=model.target_net.momentum
        ).to(get_device())
    runner.train()
    return runner


def step_of(runner: Runner) -> Step:
    batch = next(iter(runner.train_dataloader))
    loop = runner.train_loop
    # The loop counts from 0; hooks log every 50th.
    return lambda: loop.run_iter(loop.iter, copy.copy(batch))


def floor_of(runner: Runner) -> Step:
    """What no step of MEC can do without: the backbone.

    Forward and backward of two views, forward of two more without graph.
    """
    model, wrapper = runner.model, runner.optim_wrapper
    batch = next(iter(runner.train_dataloader))
    with torch.no_grad():
        views = model.data_preprocessor(batch, True)['inputs']
        gradient = model.backbone(views[0])[-1]

    def step() -> None:
        with wrapper.optim_context(model):
            maps = [model.backbone(view)[-1] for view in views]
            with torch.no_grad():
                for view in views:
                    model.target_net.module[0](view)
        torch.autograd.backward(maps, [gradient.to(x) for x in maps])
        wrapper.zero_grad()

    return step


class Projected(nn.Module):
    """Backbone, pooled, and a projector of flat rows."""

    def __init__(self, backbone: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector

    def forward(self, x: Tensor) -> Tensor:
        return self.projector(self.backbone(x)[-1].mean((2, 3)))


def plain_loop(
    args: argparse.Namespace,
    online: nn.Module,
    predictor: nn.Module,
    update: Callable,
    criterion: Callable[[Tensor, Tensor], Tensor],
) -> Step:
    """The loop of the others' scripts: float32, SGD, loss read each time."""
    online, predictor = online.to(get_device()), predictor.to(get_device())
    target = copy.deepcopy(online).requires_grad_(False)
    optimizer = torch.optim.SGD(
        [*online.parameters(), *predictor.parameters()], lr=0.06, momentum=0.9
    )
    size = (args.batch, args.channels, args.pixels, args.pixels)
    views = torch.randn(2, *size, device=get_device())

    def step() -> None:
        update(online, target, 0.996)
        p1, p2 = (predictor(online(view)) for view in views)
        with torch.no_grad():
            t1, t2 = (target(view) for view in views)
        loss = 0.5 * (criterion(p1, t2) + criterion(p2, t1))
        loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def official_of(args: argparse.Namespace) -> Step:
    """MEC by its official code, xinliu20/MEC@35045dc:main_pretrain.py."""
    from losses import official_mec

    cfg = Config.fromfile(NETWORKS[args.network]['mec']).model
    neck, predictor = (
        MODELS.build(dict(entry, with_avg_pool=False)) for entry in (cfg.neck, cfg.head.predictor)
    )

    class Rows(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner((x,))[0]

    @torch.no_grad()
    def update(online: nn.Module, target: nn.Module, m: float) -> None:
        for p, q in zip(online.parameters(), target.parameters()):
            q.data = q.data * m + p.data * (1 - m)

    return plain_loop(
        args, Projected(backbone_of(cfg), Rows(neck)), Rows(predictor), update, official_mec
    )


def lightly_of(args: argparse.Namespace) -> Step:
    """BYOL of lightly, the loop of its example, around the same backbone."""
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import update_momentum

    cfg = Config.fromfile(NETWORKS[args.network]['byol']).model
    widths = (cfg.neck.in_channels, cfg.neck.hid_channels, cfg.neck.out_channels)
    return plain_loop(
        args,
        Projected(backbone_of(cfg), BYOLProjectionHead(*widths)),
        BYOLPredictionHead(widths[2], widths[1], widths[2]),
        update_momentum,
        NegativeCosineSimilarity(),
    )


def stable_of(args: argparse.Namespace) -> Step:
    """BYOL of stable-pretraining in a plain loop, around the same backbone.

    Its forward, loss and EMA, and the rest as in :func:`plain_loop`, without
    the hooks of its trainer.
    """
    from stable_pretraining.methods.byol import BYOL

    cfg = Config.fromfile(NETWORKS[args.network]['byol']).model

    class Encoder(Projected):
        """Takes as many channels as there are: BYOL probes it with three."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x[:, : args.channels])

    widths = cfg.neck.hid_channels, cfg.neck.out_channels
    model = BYOL(Encoder(backbone_of(cfg), nn.Identity()), widths, widths, 0.996).to(get_device())
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.06, momentum=0.9
    )
    size = (args.batch, args.channels, args.pixels, args.pixels)
    views = torch.randn(2, *size, device=get_device())

    def step() -> None:
        loss = model(*views).loss
        loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.backbone.update_teacher()
        model.projector.update_teacher()

    return step


def backbone_of(cfg: Config) -> nn.Module:
    """The backbone of a model's config, initialised."""
    backbone = MODELS.build(cfg.backbone)
    backbone.init_weights()
    return backbone


def clock_of(threads: int) -> Callable[[], float]:
    """CPU time where a thread does all the work."""
    if get_device() == 'cuda':
        return device_clock
    return time.process_time if threads == 1 else time.perf_counter


class Clock:
    """Seconds by region of a step; a region within another is its own."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.spent: dict[str, float] = defaultdict(float)
        self.region, self.since = '', now()

    def switch(self, region: str) -> None:
        """From here on time belongs to ``region``."""
        now = self.now()
        self.spent[self.region] += now - self.since
        self.region, self.since = region, now

    def wrap(self, owner: object, method: str, region: str, backward: str = '') -> None:
        """Count calls of a method; ``backward`` starts at its output."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            outer = self.region
            self.switch(region)
            try:
                output = inner(*args, **kwargs)
            finally:
                self.switch(outer)
            if backward and output[-1].requires_grad:
                output[-1].register_hook(lambda _: self.switch(backward))
            return output

        setattr(owner, method, timed)


def profile(runner: Runner, now: Callable[[], float], steps: int) -> list[tuple[str, float]]:
    """Share in percent of each region of a step of MEC."""
    clock = Clock(now)
    model, wrapper = runner.model, runner.optim_wrapper
    loop = runner.train_loop
    heads = 'neck and predictor'
    clock.wrap(loop, 'run_iter', 'hooks and logging')
    clock.wrap(model, 'train_step', 'rest of train_step')
    clock.wrap(model.data_preprocessor, 'forward', 'data preprocessor')
    clock.wrap(model.backbone, 'forward', 'backbone forward', 'backbone backward')
    clock.wrap(model.neck, 'forward', heads, f'{heads} backward')
    clock.wrap(model.head.predictor, 'forward', heads, f'{heads} backward')
    clock.wrap(model.head.loss_module, 'forward', 'objective')
    clock.wrap(model.target_net, 'update_parameters', 'EMA')
    clock.wrap(model.target_net, 'forward', heads)
    clock.wrap(model.target_net.module[0], 'forward', 'backbone forward of the target')
    clock.wrap(wrapper, 'backward', 'objective backward')
    clock.wrap(wrapper, 'step', 'optimiser')
    clock.wrap(wrapper, 'zero_grad', 'optimiser')
    step = step_of(runner)
    step()
    clock.spent.clear()
    for _ in range(steps):
        step()
    del clock.spent['']
    total = sum(clock.spent.values())
    return [
        (region, 100 * spent / total)
        for region, spent in sorted(clock.spent.items(), key=lambda item: -item[1])
    ]


def alternate(steps: dict[str, Step], rounds: int, now: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each step, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step(), step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = now()
            step()
            seconds[name].append(now() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    args.channels = Config.fromfile(NETWORKS[args.network]['mec']).model.backbone.get(
        'in_channels', 3
    )
    torch.manual_seed(0)
    init_default_scope('mmpretrain')
    logging.disable(logging.INFO)
    now = clock_of(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        runners = {name: runner_of(args, name, folder) for name in VARIANTS}
        steps = {name: step_of(runner) for name, runner in runners.items()}
        for name in ('MEC', FASTEST):
            steps[f'floor of {name}'] = floor_of(runners[name])
        steps["MEC's official loop"] = official_of(args)
        for library, peer in (('lightly', lightly_of), ('stable-pretraining', stable_of)):
            try:
                steps[f'{library} BYOL'] = peer(args)
            except ImportError as error:
                print(f'{library} is left out: {error}')
        seconds = alternate(steps, args.rounds, now)
        report(args, seconds)
        for name in ('MEC, EMA of mmpretrain', FASTEST):
            print(f'\n| {name} | % of the step |\n|---|---|')
            for region, share in profile(runners[name], now, args.rounds):
                print(f'| {region} | {share:.1f} |')


def report(args: argparse.Namespace, seconds: dict[str, float]) -> None:
    """Print the table of times and ratios."""
    clock = 'CPU' if clock_of(args.threads) is time.process_time else 'wall'
    print(
        f'{args.network}, {args.pixels} px, batch {args.batch}, median of '
        f'{args.rounds} rounds, {args.threads} thread(s), {clock} time; {machine()}\n'
    )
    print(f'| | ms | images/s | x {BASELINE} |\n|---|---|---|---|')
    for name, value in seconds.items():
        print(
            f'| {name} | {1e3 * value:.1f} | {args.batch / value:.0f} | '
            f'{seconds[BASELINE] / value:.2f} |'
        )


if __name__ == '__main__':
    main()
