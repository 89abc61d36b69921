"""docs/which_objective.md: what each objective maximises, costs, needs and reaches.

It is written by tools/model_index.py, from configs/family/objectives.yml, the signatures of the
losses, the measured times, the papers' numbers and ours.
"""

import inspect
import json
import textwrap
from pathlib import Path
from statistics import mean
from typing import Any

import yaml
from mmpretrain.registry import MODELS

import mmentropy  # noqa: F401  registers the losses

ROOT = Path(__file__).resolve().parent.parent
OBJECTIVES = ROOT / 'configs/family/objectives.yml'
TIMES = ROOT / 'benchmarks/family/results.json'
# Arguments that say what the data are, not what the objective is.
SHAPES = {'in_channels', 'views', 'seed'}
HEAD = """# Which objective?

| you have | begin with |
|---|---|
| photos, and no wish to choose | [MEC](methods/mec.md), which `mmentropy pretrain PHOTOS` takes |
| one card or none, and a few epochs | [CorInfoMax](methods/corinfomax.md), \
[INTL](methods/intl.md), [I-VNE+](methods/ivne.md) or [BYOL+ER](methods/er.md) |
| BYOL or DINO, whose networks should stay | their [ER](methods/er.md) variants |
| another algorithm that should stay | `WithObjective` or `WithMEC`, which add to its loss |
| a ViT | [SimDINO](methods/simdino.md), or without a teacher [LeJEPA](methods/lejepa.md) |
| no time to tune | [MinEnt](methods/minent.md) or [MMCR](methods/mmcr.md): one hyper-parameter |
| projections of many thousand dimensions | [LeJEPA](methods/lejepa.md), which is linear in them |

{narrow}
"""
TERMS = """## What each is

All but SimDINO, Matrix-SSL, MEC and ER in BYOL and DINO need no EMA and no predictor. VICReg and
FroSSL decompose nothing; EMP-SSL and SimDINO factorise, I-VNE+ and MMCR take eigenvectors, on the
cheaper side of the batch. All but ER see the rows of all ranks as one batch.

N rows of all ranks, D their width, V views, K = min(N, D), M directions. The number of
hyper-parameters is that of the loss. Where nothing is said of state, there is none.

| objective | loss | maximises | cost | state | coupled rows | needs | hyper-parameters |
|---|---|---|---|---|---|---|---|
"""
TIME = """## What each costs

Milliseconds, and MiB above inputs and gradients, of two views, forward and backward, in float32 on
one thread, on {machine}.
In brackets what the authors' code takes, as a multiple of ours; for times the median over turns.
MEC, ER and MinEnt are timed in [benchmarks/speed](../benchmarks/speed/results.md). The
[results](../benchmarks/family/results.md) of `python benchmarks/family_speed.py` have commits, and
other libraries too.

"""
REACHED = """## What each reaches

Top-1 in percent. The papers' best number is that of a recipe here; networks, data and epochs
differ, so that they do not compare with each other. Ours are those of Digits under one budget (50
epochs of a narrow ResNet-18), kNN and linear; those of the family are told with their spread in
[experiments/digits_family](../experiments/digits_family/README.md). Those of CIFAR-10 are of 10
epochs of a narrower one, at the learning rate that a search found
([experiments/cifar10_table](../experiments/cifar10_table/README.md)); ER is BYOL+ER.

| objective | paper | ours, Digits | ours, CIFAR-10 |
|---|---|---|---|
"""
COLLAPSE = """## What the monitor says when the term that keeps features apart is taken away

80 iterations of 32 images of Digits, `EntropyMonitorHook` with `interval=5`
(`tests/engine/test_collapse_on_purpose.py`).

| objective | without | reported |
|---|---|---|
"""
ORIGIN = """---

Written by `python tools/model_index.py` from
[configs/family/objectives.yml](../configs/family/objectives.yml), the signatures of the losses,
[measured times](../benchmarks/family/results.json), [published](../configs/published.yml) numbers
and ours: [Digits](results.json), [the family on Digits](../experiments/digits_family/README.md) and
[CIFAR-10](../experiments/cifar10_table/README.md).
"""
NARROW = 'fast_r18s_1xb256_10e_cifar10'


def told(narrow: dict[str, dict]) -> str:
    """The paragraph about accuracies at one budget, of the best objective first."""
    simclr = narrow[f'baselines/simclr_{NARROW}']['knn']
    others = ('baselines/', 'experiments/')
    found = [scores for name, scores in narrow.items() if not name.startswith(others)]
    found.sort(key=lambda scores: -scores['knn'])
    numbers = listed([f'{scores["method"]} {scores["knn"]:.1f}' for scores in found])
    text = (
        f'In ten epochs of a narrow ResNet-18 on CIFAR-10, kNN gives {numbers} %, and plain SimCLR '
        f'{simclr:.1f}. EMP-SSL has four views, in twice the time. So before a short run '
        'of your own try `--method simclr` beside. Most papers train for '
        '100 to 1,000 epochs, which we could not repeat ([verdicts](understand/verdicts.md)).'
    )
    return textwrap.fill(text, 100, break_on_hyphens=False)


def listed(words: list[str]) -> str:
    """Words with commas between, and 'and' before the last."""
    return ' and '.join(filter(None, (', '.join(words[:-1]), words[-1])))


def objectives() -> dict[str, dict[str, Any]]:
    """The entries of configs/family/objectives.yml."""
    return yaml.safe_load(OBJECTIVES.read_text())


def hyper_parameters(loss: str) -> int:
    """The number of arguments of a loss, without those of SHAPES."""
    return len(inspect.signature(MODELS.get(loss)).parameters.keys() - SHAPES)


def terms(entry: dict) -> str:
    """The row that says what an objective is."""
    cells = [
        entry['title'],
        f'`{entry["loss"]}`',
        entry['maximises'],
        entry['cost'],
        entry.get('state', 'none'),
        entry.get('coupling', 'all'),
        entry['needs'],
        str(hyper_parameters(entry['loss'])),
    ]
    return f'| {" | ".join(cells)} |'


def times(entries: dict[str, dict]) -> str:
    """The table of measured times and memory."""
    measured = json.loads(TIMES.read_text())
    results = measured['results']
    sizes = list(next(iter(results.values())))
    titles = [size.replace('x', ', ') for size in sizes]
    lines = [TIME.format(**measured)]
    lines.append(f'| objective | {" | ".join(titles)} |\n' + '|---' * (1 + len(sizes)) + '|\n')
    for name in results:
        cells = [time_cell(results[name].get(size, {})) for size in sizes]
        lines.append(f'| {entries[name]["title"]} | {" | ".join(cells)} |\n')
    return ''.join(lines)


def time_cell(rows: dict[str, dict]) -> str:
    """Time and memory of ours, and the authors' share."""
    if 'ours' not in rows:
        return 'not measured'
    ours, authors = rows['ours'], rows['authors']
    return (
        f'{ours["ms"]:.3g} ms ({authors["faster"]:.2f}), '
        f'{ours["mib"]:.3g} MiB ({authors["less"]:.2f})'
    )


def best_published(start: str, published: dict[str, dict]) -> str:
    """The highest number of linear probes among recipes whose names begin so, ImageNet-1k first."""
    numbers = {
        name: found
        for name, found in published.items()
        if name.startswith(start) and found.get('linear')
    }
    if not numbers:
        return ''
    name = max(numbers, key=lambda name: (name.endswith('in1k'), numbers[name]['linear']))
    return f'{numbers[name]["linear"]:g} linear, {Path(name).name} ({numbers[name]["source"]})'


def on_digits(config: str, records: list[dict]) -> str:
    """Our mean over seeds, or that there is none."""
    runs = [r for r in records if r.get('config') == config]
    if not runs:
        return 'not run'
    means = {key: mean(r[key] for r in runs) for key in ('knn', 'linear')}
    return told_scores(means, len(runs))


def told_scores(scores: dict[str, float], seeds: int) -> str:
    """Both accuracies and the number of seeds."""
    return f'{scores["knn"]:.1f} / {scores["linear"]:.1f}, {seeds} seed{"s" * (seeds > 1)}'


def on_cifar10(config: str, narrow: dict[str, dict]) -> str:
    """Our mean over seeds on CIFAR-10 of what has this recipe on Digits, or that there is none."""
    found = narrow.get(config.replace('r18s_1xb64_50e_digits', NARROW))
    return told_scores(found, found['seeds']) if found else 'not run'


def collapse(entry: dict) -> tuple[str, str]:
    """What is taken away of an objective, and what the monitor then says."""
    if not entry['without']:
        return '', f'not tried: {entry["why"]}'
    said = ', '.join(entry['reported'])
    return ', '.join(f'{key} = 0' for key in entry['without']), said


def page(published: dict[str, dict], records: list[dict], narrow: dict[str, dict]) -> str:
    """The text of docs/which_objective.md.

    Args:
        published: the papers' numbers by recipe.
        records: our runs of recipes.
        narrow: means of experiments/cifar10_table by recipe.
    """
    entries = objectives()
    parts = [
        HEAD.format(narrow=told(narrow)),
        '\n',
        TERMS,
        *(f'{terms(entry)}\n' for entry in entries.values()),
        '\n',
    ]
    parts += [times(entries), '\n', REACHED]
    for name, entry in entries.items():
        best = best_published(entry.get('recipes', f'family/{name}_'), published)
        paper = best or entry.get('paper', 'not recorded')
        config = entry.get('digits', f'family/{name}_r18s_1xb64_50e_digits')
        ours = f'{on_digits(config, records)} | {on_cifar10(config, narrow)}'
        parts.append(f'| {entry["title"]} | {paper} | {ours} |\n')
    parts += ['\n', COLLAPSE]
    for entry in entries.values():
        parts.append(f'| {entry["title"]} | {" | ".join(collapse(entry))} |\n')
    parts += ['\n', ORIGIN]
    return ''.join(parts)
