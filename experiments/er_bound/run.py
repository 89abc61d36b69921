"""Curves of the ER bound's two terms while methods train that do not name them as their objective.

python experiments/er_bound/run.py train --methods simclr byol --seeds 0 1 2
python experiments/er_bound/run.py stability --seeds 0
python experiments/er_bound/run.py figure
python experiments/er_bound/run.py --smoke

Each run adds the monitor to a recipe and writes its curves into results.json beside this file. A
run that is there already is not repeated. ``--smoke`` trains every method for two epochs in a
temporary folder and keeps nothing.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path += [str(ROOT / 'tools'), str(ROOT / 'benchmarks')]

from cli import commit  # noqa: E402
from speed.machine import machine  # noqa: E402

from mmentropy.engine.hooks import EntropyMonitorHook  # noqa: E402
from mmentropy.engine.train_loop import use_train_loop  # noqa: E402
from mmentropy.functional.diagnostics import point_entropy  # noqa: E402

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
# Batches and EMA coefficients at which the stability of BYOL and DINO is looked at.
# The ends of both ranges come first.
BATCHES = (256, 16, 128, 32)
MOMENTA = (0.996, 0.5, 0.9, 0.8)
STABLE = ('byol', 'byol_er', 'dino', 'dino_er')
RESULTS = HERE / 'results.json'


def config(method: str, seed: int, folder: str, epochs: int, changes: dict) -> Config:
    """The recipe of a method in one process, with its schedule shortened to ``epochs``."""
    cfg = Config.fromfile(ROOT / f'configs/{METHODS[method][0]}.py')
    cfg.work_dir, cfg.randomness.seed, cfg.log_level = folder, seed, 'WARNING'
    cfg.experiment_name = f'{method}_{time.monotonic_ns()}'
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.default_hooks.pop('checkpoint')
    cfg.default_hooks.checkpoint = None
    cfg.train_cfg.max_epochs = epochs
    # The first tenth warms up, as in the recipe.
    warmup, decay = cfg.param_scheduler
    warmup.end = decay.begin = max(1, epochs * warmup.end // cfg.max_epochs)
    if 'batch' in changes:
        cfg.train_dataloader.batch_size = changes['batch']
        cfg.optim_wrapper.optimizer.lr *= changes['batch'] / cfg.batch_size
    if 'ema' in changes:
        cfg.model.base_momentum = 1 - changes['ema']
    return cfg


def curves(lines: list[dict], support: str) -> dict:
    """Iterations, both terms and kNN of a run from the lines of its scalars."""
    prefix = 'monitor/projector/' + ('simplex_' if support == 'simplex' else '')
    names = dict(entropy=f'{prefix}entropy', reconstruction=f'{prefix}reconstruction')
    measured = [line for line in lines if names['entropy'] in line]
    found = {key: [round(line[name], 4) for line in measured] for key, name in names.items()}
    accuracies = [line['knn/top1'] for line in lines if 'knn/top1' in line]
    return dict(iteration=[line['step'] for line in measured], **found, knn=accuracies)


def train(method: str, seed: int, epochs: int, **changes: float) -> dict:
    """Train once and return the record of the run."""
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner.from_cfg(config(method, seed, folder, epochs, changes))
        use_train_loop(runner)
        # Once an epoch.
        runner.register_hook(EntropyMonitorHook(interval=max(len(runner.train_dataloader), 1)))
        runner.train()
        text = Path(runner.log_dir, 'vis_data', 'scalars.json').read_text()
    name, support = METHODS[method]
    return dict(
        method=method,
        **changes,
        config=f'configs/{name}.py',
        seed=seed,
        epochs=epochs,
        commit=commit(),
        machine=machine(),
        minutes=round((time.time() - start) / 60, 1),
        support=support,
        **curves([json.loads(line) for line in text.splitlines()], support),
    )


def key(record: dict) -> tuple:
    """What tells one run from another."""
    return tuple(record.get(name) for name in ('method', 'batch', 'ema', 'epochs', 'seed'))


def train_missing(runs: list[dict]) -> None:
    """Train the runs that results.json lacks, and write each into it when it is done."""
    for run in runs:
        records = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        if key(run) in map(key, records):
            continue
        record = train(**run)
        records = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        records = sorted([*records, record], key=lambda r: str(key(r)))
        RESULTS.write_text('[\n' + ',\n'.join(json.dumps(r) for r in records) + '\n]\n')
        print(method_line(record), flush=True)


def method_line(record: dict) -> str:
    """What a run came to, in a line."""
    name = ' '.join(str(part) for part in key(record) if part is not None)
    first, last = (
        f'{record["entropy"][i]:.2f} - {record["reconstruction"][i]:.2f}' for i in (0, -1)
    )
    accuracy = f'{record["knn"][-1]:.1f}' if record['knn'] else '-'
    return f'{name}: bound {first} at first, {last} at the end, kNN {accuracy} %'


def claimed_runs(records: list[dict]) -> dict[str, list[dict]]:
    """The runs of each method that is claimed about, if there are any.

    They are those of the longest training that all methods have, or else the longest of each.
    """
    plain = [r for r in records if 'batch' not in r and 'ema' not in r]
    runs = {m: [r for r in plain if r['method'] == m] for m in CLAIMED}
    lengths = {m: {r['epochs'] for r in found} for m, found in runs.items() if found}
    common = set.intersection(*lengths.values())
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
            found = [r for r in runs if key(r)[:3] == (method, batch, ema)]
            cell = 'not run'
            if found:
                accuracy = sum(r['knn'][-1] for r in found) / len(found)
                entropy = sum(float(above_a_point(r, 'entropy')[-1]) for r in found) / len(found)
                cell = f'{accuracy:.1f} ({entropy:.2f})'
            cells.append(cell)
        title = f'batch {batch}' if ema is None else f'EMA {ema}'
        lines.append(f'| {title} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def draw(records: list[dict], path: Path) -> None:
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
        style = '--' if method in ('byol', 'dino') else '-'
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
    figure.savefig(path, dpi=80, metadata=dict(Software=None))


def between_marks(text: str, name: str, new: str) -> str:
    """The text with what stands between the marks of a name replaced."""
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    before, rest = text.split(begin)
    return f'{before}{begin}\n\n{new}\n\n{end}{rest.split(end)[1]}'


def page(text: str, records: list[dict]) -> str:
    """The README with its tables made anew."""
    text = between_marks(text, 'bound', table(records))
    return between_marks(text, 'stability', stability_table(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', nargs='?', choices=['train', 'stability', 'figure'])
    parser.add_argument('--methods', nargs='+', choices=METHODS)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, default=50)
    parser.add_argument('--smoke', action='store_true')
    args = parser.parse_args()
    if args.smoke:
        for method in args.methods or METHODS:
            print(method_line(train(method, 0, epochs=2)))
    elif args.what == 'train':
        methods = args.methods or CLAIMED
        train_missing(
            [dict(method=m, seed=s, epochs=args.epochs) for s in args.seeds for m in methods]
        )
    elif args.what == 'stability':
        pairs = zip(BATCHES, MOMENTA)
        changes = [change for b, e in pairs for change in (dict(batch=b), dict(ema=e))]
        methods = args.methods or STABLE
        train_missing(
            [
                dict(method=m, seed=s, epochs=args.epochs, **c)
                for c in changes
                for s in args.seeds
                for m in methods
            ]
        )
    elif args.what == 'figure':
        records = json.loads(RESULTS.read_text())
        draw(records, HERE / 'figure.png')
        readme = HERE / 'README.md'
        readme.write_text(page(readme.read_text(), records))
    else:
        parser.error('say what: train, stability or figure, or --smoke')


if __name__ == '__main__':
    main()
