"""Curves of the two terms of the ER bound while methods train that do not name it as their aim."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import torch
from comparisons import compared, gained, gains, saves, unanimous
from mmengine.config import Config
from records import ROOT
from torch import Tensor

from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report.runs import read_run

# The methods, their recipes, and where each has the variable that its bound is about.
METHODS = dict(
    simclr=('baselines/simclr_r18s_1xb64_50e_digits', 'sphere'),
    moco=('baselines/moco_r18s_1xb64_50e_digits', 'sphere'),
    cmc=('baselines/cmc_r18s_1xb64_50e_digits', 'sphere'),
    swav=('baselines/swav_r18s_1xb64_50e_digits', 'simplex'),
    deepcluster=('baselines/deepcluster_r18s_1xb64_50e_digits', 'simplex'),
    byol=('baselines/byol_r18s_1xb64_50e_digits', 'sphere'),
    dino=('baselines/dino_r18s_1xb64_50e_digits', 'simplex'),
    byol_er=('er/er_byol_r18s_1xb64_50e_digits', 'sphere'),
    dino_er=('er/er_dino_r18s_1xb64_50e_digits', 'simplex'),
)
TITLES = dict(
    simclr='SimCLR',
    moco='MoCo',
    cmc='CMC, two bands',
    swav='SwAV',
    deepcluster='DeepCluster',
    byol='BYOL',
    dino='DINO',
    byol_er='BYOL+ER',
    dino_er='DINO+ER',
)
# The width of the projections, on the sphere.
WIDTH = 128
# The bound cannot exceed the log of the number of held-out images, or of prototypes.
MOST = {name: math.log(256) for name in METHODS} | dict(
    swav=math.log(64), deepcluster=math.log(64), dino=math.log(128)
)
# The figure compares these methods, which the claim of the paper is about.
CLAIMED = ('simclr', 'moco', 'cmc', 'swav', 'deepcluster', 'byol', 'dino')
DISTILLING = ('byol', 'dino')
FIGURE = 'arXiv 2307.10907, figure 1'
# The paper does not say what a stable entropy is. Here it changes by less than this share of what
# the reconstruction error does.
STABLE_SHARE = 0.5
# Batches and EMA coefficients at which the stability of BYOL and DINO is looked at.
BATCHES = (256, 16)
MOMENTA = (0.996, 0.5)
STABLE = ('byol', 'byol_er', 'dino', 'dino_er')
# Digits has so many training images.
IMAGES = 1297
EPOCHS = 20


@cache
def recipe(method: str) -> Config:
    """The config of a method."""
    return Config.fromfile(ROOT / f'configs/{METHODS[method][0]}.py')


def changes(method: str, batch: int | None = None, ema: float | None = None) -> dict:
    """The monitor, once an epoch, the schedule of a shorter training, and a setting."""
    cfg = recipe(method)
    rows = batch or cfg.batch_size
    warmup, _ = cfg.param_scheduler
    # The first tenth warms up, as in the recipe.
    end = max(1, EPOCHS * warmup.end // cfg.max_epochs)
    monitor = dict(type='EntropyMonitorHook', interval=IMAGES // rows)
    found = {
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.batch_size': rows,
        'train_cfg.max_epochs': EPOCHS,
        'param_scheduler.0.end': end,
        'param_scheduler.1.begin': end,
        'custom_hooks': [*map(dict, cfg.custom_hooks), monitor],
        'optim_wrapper.optimizer.lr': cfg.optim_wrapper.optimizer.lr * rows / cfg.batch_size,
    }
    return found | ({} if ema is None else {'model.base_momentum': 1 - ema})


def run(method: str, seed: int, batch: int | None = None, ema: float | None = None) -> dict:
    """A run of a method, or of its stability at a batch or with an EMA coefficient."""
    return dict(
        label=dict(method=method, batch=batch, ema=ema, epochs=EPOCHS),
        recipe=f'configs/{METHODS[method][0]}.py',
        changes=changes(method, batch, ema),
        seed=seed,
    )


def runs(records: list[dict], seeds: int) -> list[dict]:
    """The methods that are claimed about, and then the stability of BYOL and DINO."""
    settings = [dict(batch=b) for b in BATCHES] + [dict(ema=e) for e in MOMENTA]
    claimed = [run(m, seed) for seed in range(seeds) for m in CLAIMED]
    return claimed + [
        run(m, seed, **setting) for setting in settings for seed in range(seeds) for m in STABLE
    ]


def smoke(run: dict) -> dict | None:
    """One method of each kind for two epochs of few images."""
    if setting(run['label']) not in (('cmc', None, None), ('deepcluster', None, None)):
        return None
    *hooks, monitor = run['changes']['custom_hooks']
    return {
        'train_cfg.max_epochs': 2,
        'train_dataloader.dataset.indices': 128,
        'eval_datasets.train.indices': 128,
        'param_scheduler.0.end': 1,
        'param_scheduler.1.begin': 1,
        'custom_hooks': [*hooks, dict(monitor, interval=2)],
    }


def setting(record: dict) -> tuple:
    """The method of a record and what was changed."""
    return tuple(record.get(name) for name in ('method', 'batch', 'ema'))


def measured(run: dict, folder: Path) -> dict:
    """Iterations, both terms and kNN of a run."""
    support = METHODS[run['label']['method']][1]
    prefix = 'monitor/projector/' + ('simplex_' if support == 'simplex' else '')
    log = read_run(folder)
    terms = {name: log.points(f'{prefix}{name}') for name in ('entropy', 'reconstruction')}
    found = {name: [round(value, 4) for _, value in points] for name, points in terms.items()}
    iterations = [step for step, _ in terms['entropy']]
    knn = [value for _, value in log.points('knn/top1')]
    return dict(support=support, iteration=iterations, **found, knn=knn)


def claimed_runs(records: list[dict]) -> dict[str, list[dict]]:
    """The runs of each method that is claimed about, if there are any.

    They are those of the longest training that all methods have, or else the longest of each.
    """
    plain = [r for r in records if r.get('batch') is None and r.get('ema') is None]
    runs = {m: [r for r in plain if r['method'] == m] for m in CLAIMED}
    lengths = {m: {r['epochs'] for r in found} for m, found in runs.items() if found}
    common = set.intersection(*lengths.values()) if lengths else set()
    return {
        m: [r for r in runs[m] if r['epochs'] == max(common or own)] for m, own in lengths.items()
    }


def above_a_point(record: dict, name: str) -> Tensor:
    """Values of a term over time; on the sphere above those of a batch of one point."""
    zero = point_entropy(WIDTH) if record['support'] == 'sphere' else 0.0
    return torch.tensor(record[name], dtype=torch.float64) - zero


def table(records: list[dict]) -> str:
    """The terms after the first epoch and at the end, means over seeds, as a table."""
    lines = [
        '| | support | entropy | reconstruction error | bound | at most | kNN, % | epochs, seeds |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for method, runs in claimed_runs(records).items():
        means = {
            name: torch.stack([above_a_point(run, name) for run in runs]).mean(0)
            for name in ('entropy', 'reconstruction')
        }
        means['bound'] = means['entropy'] - means['reconstruction']
        cells = [f'{float(x[0]):.2f} to {float(x[-1]):.2f}' for x in means.values()]
        accuracy = sum(run['knn'][-1] for run in runs) / len(runs)
        lines.append(
            f'| {TITLES[method]} | {runs[0]["support"]} | {" | ".join(cells)} '
            f'| {MOST[method]:.2f} | {accuracy:.1f} | {runs[0]["epochs"]}, {len(runs)} |'
        )
    return '\n'.join(lines)


def stability_table(records: list[dict]) -> str:
    """Accuracy of kNN and entropy at the end by method and setting, means over seeds."""
    runs = [r for r in records if 'batch' in r or 'ema' in r]
    settings = list(dict.fromkeys((r.get('batch'), r.get('ema')) for r in runs))
    lines = [
        f'| kNN, % (entropy) | {" | ".join(TITLES[m] for m in STABLE)} |',
        '|---|' + '---|' * len(STABLE),
    ]
    for batch, ema in sorted(settings, key=lambda s: (s[0] is None, -(s[0] or s[1]))):
        cells = []
        for method in STABLE:
            found = [r for r in runs if setting(r) == (method, batch, ema)]
            cell = 'not run'
            if found:
                accuracy = sum(r['knn'][-1] for r in found) / len(found)
                entropy = sum(float(above_a_point(r, 'entropy')[-1]) for r in found) / len(found)
                cell = f'{accuracy:.1f} ({entropy:.2f})'
            cells.append(cell)
        title = f'batch {batch}' if ema is None else f'EMA {ema}'
        lines.append(f'| {title} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def draw(records: list[dict], folder: Path) -> None:
    """Draw both terms and the bound over training, on the sphere and on the simplex."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 2, figsize=(9, 8), sharex=True)
    for method, runs in claimed_runs(records).items():
        column = int(runs[0]['support'] == 'simplex')
        terms = [
            torch.stack([above_a_point(r, name) for r in runs])
            for name in ('entropy', 'reconstruction')
        ]
        x = torch.tensor(runs[0]['iteration'])
        style = '--' if method in DISTILLING else '-'
        for axis, values in zip(axes[:, column], [*terms, terms[0] - terms[1]]):
            (line,) = axis.plot(x, values.mean(0), style, label=TITLES[method])
            axis.fill_between(
                x, values.amin(0), values.amax(0), color=line.get_color(), alpha=0.2, linewidth=0
            )
    for row, name in enumerate(('entropy', 'reconstruction error', 'bound')):
        axes[row, 0].set_ylabel(f'{name}, nats')
    axes[0, 0].set_title('on the sphere, above one point')
    axes[0, 1].set_title('on the simplex')
    for axis in axes[2]:
        axis.set_xlabel('iteration')
    for axis in axes[0]:
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / 'figure.png', dpi=80, metadata=dict(Software=None))
    pyplot.close(figure)


def page(records: list[dict]) -> dict[str, str]:
    """The generated parts of the README."""
    return dict(bound=table(records), stability=stability_table(records))


def verdicts(records: list[dict]) -> list[dict]:
    """What the methods do to the terms, and whether ER makes two of them stable."""
    return [*terms_verdicts(records), *stability_verdicts(records)]


def change(run: dict) -> dict[str, float]:
    """How much each term, and the bound, rose from the first epoch to the last."""
    rise = {name: run[name][-1] - run[name][0] for name in ('entropy', 'reconstruction')}
    return rise | dict(bound=rise['entropy'] - rise['reconstruction'])


def terms_verdicts(records: list[dict]) -> list[dict]:
    """Whether the methods change the terms as the paper says, by all seeds."""
    found = {m: [change(r) for r in runs] for m, runs in claimed_runs(records).items()}
    if found.keys() != set(CLAIMED):
        return []

    def mean(method: str, term: str) -> float:
        return sum(rise[term] for rise in found[method]) / len(found[method])

    def told(methods: Sequence[str], *terms: str) -> str:
        rises = {m: ' and '.join(f'{mean(m, term):+.1f}' for term in terms) for m in methods}
        return ', '.join(f'{TITLES[m]} {rise}' for m, rise in rises.items())

    contrasting = [m for m in CLAIMED if m not in DISTILLING]
    raised = signs(rise['bound'] for m in contrasting for rise in found[m])
    lowered = signs(-rise['reconstruction'] for m in DISTILLING for rise in found[m])
    share = max(abs(mean(m, 'entropy') / mean(m, 'reconstruction')) for m in DISTILLING)
    return [
        dict(
            claim='Contrastive and clustering methods raise the ER bound',
            source=FIGURE,
            verdict=raised,
            numbers=f'nats: {told(contrasting, "bound")}; those that the claim is not about raise '
            f'it, too: {told(DISTILLING, "bound")}',
        ),
        dict(
            claim='BYOL and DINO lower the reconstruction error while the entropy stays stable',
            source=FIGURE,
            verdict=stays_stable(share) if lowered == 'confirmed' else lowered,
            numbers=f'error and entropy, nats: {told(DISTILLING, "reconstruction", "entropy")}',
        ),
    ]


def signs(rises: Iterable[float]) -> str:
    """Whether numbers rise, each in every seed: refuted is that all of them fall."""
    return unanimous(rise > 0 for rise in rises)


def stays_stable(share: float) -> str:
    """Whether an entropy is stable that changes by a share of what the error does."""
    return 'confirmed' if share < STABLE_SHARE else 'undecided'


def stability_verdicts(records: list[dict]) -> list[dict]:
    """Whether each method loses less with ER at the small batch and with the fast EMA."""

    def accuracy(method: str, batch: int | None, ema: float | None) -> dict[int, float]:
        runs = [r for r in records if setting(r) == (method, batch, ema)]
        return {r['seed']: r['knn'][-1] for r in runs}

    def gain(method: str, before: tuple, after: tuple) -> dict[int, float]:
        return gains(accuracy(method, *before), accuracy(method, *after))

    ends = {
        'at a small batch': [(batch, None) for batch in BATCHES],
        'with a fast EMA': [(None, ema) for ema in MOMENTA],
    }
    found = []
    for where, (usual, hard) in ends.items():
        for plain in ('byol', 'dino'):
            pair = tuple(gain(m, usual, hard) for m in (f'{plain}_er', plain))
            if compared(*pair):
                found.append(
                    dict(
                        claim=f'With ER {TITLES[plain]} loses less {where}',
                        source='arXiv 2307.10907, table 2',
                        verdict=saves(*pair),
                        numbers=f'Digits, kNN {gained(pair[1])} without ER, '
                        f'{gained(pair[0])} with it',
                    )
                )
    return found
