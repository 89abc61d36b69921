"""All methods at one budget on CIFAR-10, with learning rates by held-out training images."""

from pathlib import Path
from statistics import mean
from typing import NamedTuple

import cifar10
import comparisons
import torch
from comparisons import SCORES, accuracies, difference, spread
from mmengine.config import Config
from monitor_records import alarms_table, correlations_table, monitored
from records import resolved

from mmentropy.weights.backbone import backbone_state_dict

NAME = '{}fast_r18s_1xb256_10e_cifar10'
# The methods and the folder and prefix of their recipes.
METHODS = {
    'SimSiam': 'baselines/simsiam_',
    'BYOL': 'baselines/byol_',
    'SimCLR': 'baselines/simclr_',
    'MoCo v3': 'baselines/mocov3_',
    'Barlow Twins': 'baselines/barlowtwins_',
    'SwAV': 'baselines/swav_',
    'DINO': 'baselines/dino_',
    'MEC': 'mec/',
    'SimCLR+ER': 'er/er_simclr_',
    'BYOL+ER': 'er/er_byol_',
    'DINO+ER': 'er/er_dino_',
    'MinEnt': 'minent/minent_',
    'VICReg': 'family/vicreg_',
    'EMP-SSL': 'family/emp_ssl_',
    'I-VNE+': 'family/ivne_',
    'FroSSL': 'family/frossl_',
    'MMCR': 'family/mmcr_',
    'CorInfoMax': 'family/corinfomax_',
    'INTL': 'family/intl_',
    'LeJEPA': 'family/lejepa_',
    'SimDINO': 'family/simdino_',
    'Matrix-SSL': 'family/matrix_ssl_',
}
RECIPES = {method: f'configs/{NAME.format(start)}.py' for method, start in METHODS.items()}
# The frame, and what the rows of evaluate.py for it are called.
SUPERVISED = 'supervised'
RECIPES[SUPERVISED] = 'experiments/cifar10_table/supervised.py'
FRAME = {'random': 'random backbone', 'pixels': 'raw pixels'}


class Claim(NamedTuple):
    """What a paper says of a row of the table beside another one: ``first`` is the better one."""

    says: str
    first: str
    second: str
    source: str


def mec_is_better(other: str) -> Claim:
    """A claim of the first table of MEC's paper."""
    return Claim(f'MEC is better than {other}', 'MEC', other, 'arXiv 2210.11464, table 1')


FROSSL = 'arXiv 2310.02903, abstract'
# Methods are run in the order in which these name them.
CLAIMS = [
    *map(mec_is_better, ('SimSiam', 'SimCLR', 'BYOL')),
    Claim('SimCLR+ER is better than SimCLR', 'SimCLR+ER', 'SimCLR', 'arXiv 2307.10907, table 2'),
    Claim(
        'BYOL+ER is better than BYOL',
        'BYOL+ER',
        'BYOL',
        'arXiv 2307.10907, table 2 at small batches',
    ),
    Claim(
        'DINO+ER is better than DINO',
        'DINO+ER',
        'DINO',
        'arXiv 2307.10907, table 2 at small batches',
    ),
    Claim(
        'MinEnt is competitive, and so not worse than SimCLR',
        'MinEnt',
        'SimCLR',
        'Pattern Recognition 138, 109364, whose tables were not consulted',
    ),
    Claim('SimDINO is better than DINO', 'SimDINO', 'DINO', 'arXiv 2502.10385, table 1'),
    Claim('FroSSL converges faster than Barlow Twins', 'FroSSL', 'Barlow Twins', FROSSL),
    Claim('FroSSL converges faster than VICReg', 'FroSSL', 'VICReg', FROSSL),
    Claim(
        'LeJEPA learns without EMA teacher and predictor',
        'LeJEPA',
        FRAME['random'],
        'arXiv 2511.08544, abstract',
    ),
    *map(mec_is_better, ('Barlow Twins', 'SwAV')),
]
COMPARED = [name for claim in CLAIMS for name in (claim.first, claim.second) if name in RECIPES]
ORDER = [*dict.fromkeys([SUPERVISED, *COMPARED, *RECIPES])]
# Factors on the learning rate of the recipe, tried with one seed: the three in the middle, and
# beyond where the best of these is the lowest or the highest.
RATES = {'1/9': 1 / 9, '1/3': 1 / 3, '1': 1.0, '3': 3.0, '9': 9.0}
MIDDLE = ('1/3', '1', '3')
BEYOND = {'1/3': '1/9', '3': '9'}
SEARCH_EPOCHS, EPOCHS = 3, 10
# The backbones of these runs are kept, for experiments/transfer.
KEPT = ('MEC', 'BYOL+ER', 'MinEnt', 'SimCLR', 'BYOL', SUPERVISED)
# Five measurements an epoch on test images, which change no training and choose nothing.
MONITOR = dict(type='EntropyMonitorHook', interval=39)


def recipe(method: str) -> Config:
    """The config of a method."""
    return cifar10.config(RECIPES[method])


def changes(method: str, rate: str, epochs: int, held_out: bool) -> dict:
    """The changes of a method's recipe."""
    found = cifar10.budget(RECIPES[method], epochs, RATES[rate], held_out)
    if method == SUPERVISED:
        # It has labels, which the views made in batch leave out, and so makes a view at a time.
        steps = [*recipe(method).labelled_view, dict(type='PackInputs')]
        found['train_dataloader.dataset'] = with_pipeline(
            found['train_dataloader.dataset'], [*cifar10.LOAD, *map(dict, steps)]
        )
        found['custom_hooks'] = cifar10.FAST[1:]
    elif not held_out:
        found['custom_hooks'] = [*found['custom_hooks'], MONITOR]
    return found


def with_pipeline(dataset: dict, steps: list[dict]) -> dict:
    """A data set, or the one that it is a fold of, with another pipeline."""
    if 'dataset' in dataset:
        return dict(dataset, dataset=with_pipeline(dataset['dataset'], steps))
    return dict(dataset, pipeline=steps)


def run(method: str, stage: str, rate: str, seed: int, evaluate: list[str]) -> dict:
    """A run of the search or of the table."""
    epochs = SEARCH_EPOCHS if stage == 'search' else EPOCHS
    return dict(
        label=dict(method=method, stage=stage, rate=rate, epochs=epochs),
        recipe=RECIPES[method],
        changes=changes(method, rate, epochs, stage == 'search'),
        seed=seed,
        evaluate=evaluate,
    )


def final(method: str, rate: str | None, seed: int) -> dict:
    """A run of the table, which waits while its learning rate is not known."""
    if rate is None:
        label = dict(method=method, stage='table', epochs=EPOCHS)
        return dict(label=label, seed=seed)
    evaluate = ['--protocols', 'knn,linear']
    if method == SUPERVISED:
        evaluate += ['--random', '--seed', str(seed)]
        # Raw pixels know no seed.
        evaluate += ['--pixels'] if seed == 0 else []
    return run(method, 'table', rate, seed, evaluate)


def runs(records: list[dict], seeds: int) -> list[dict]:
    """The search and the table of the methods that papers compare, then those of the others.

    A method is done before the next one begins, so that its row can be compared.
    """
    return [run for method in ORDER for run in method_runs(method, records, seeds)]


def method_runs(method: str, records: list[dict], seeds: int) -> list[dict]:
    """The search of a method, and then its seeds in the table."""
    rate = best_rate(records, method)
    tried = rates_to_try(records, method)
    search = [run(method, 'search', factor, 0, ['--protocols', 'knn']) for factor in tried]
    return search + [final(method, rate, seed) for seed in range(seeds)]


def smoke(run: dict) -> dict | None:
    """Two batches of one method and of the frame."""
    if run['label']['method'] not in ('SimSiam', SUPERVISED):
        return None
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def measured(run: dict, folder: Path) -> dict:
    """What the monitor found in a run of the table."""
    watched = run['label']['stage'] == 'table' and run['label']['method'] != SUPERVISED
    return monitored(folder) if watched else {}


def files(run: dict, folder: Path) -> dict[str, Path]:
    """The backbone of a run of the table, in half precision, with its config."""
    method = run['label']['method']
    if run['label']['stage'] != 'table' or method not in KEPT:
        return {}
    state = backbone_state_dict((folder / 'last_checkpoint').read_text().strip())
    backbone = {f'backbone.{k}': v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(
        dict(state_dict=backbone, meta=dict(cfg=resolved(run).pretty_text)), folder / 'backbone.pth'
    )
    return {f'backbones/{method}_seed{run["seed"]}.pth': folder / 'backbone.pth'}


def held_out(records: list[dict], method: str) -> dict[str, float]:
    """The accuracy on held-out training images by the factor; a run that diverged has -1."""
    found = [r for r in records if r['method'] == method and r['stage'] == 'search']
    return {r['rate']: r['scores']['checkpoint']['knn'] if 'scores' in r else -1.0 for r in found}


def rates_to_try(records: list[dict], method: str) -> list[str]:
    """The factors in the middle, and the one beyond the best of them if that is at an end."""
    found = held_out(records, method)
    if not all(rate in found for rate in MIDDLE):
        return [*MIDDLE]
    beyond = BEYOND.get(max(MIDDLE, key=lambda rate: found[rate]))
    return [*MIDDLE, *([beyond] if beyond else [])]


def best_rate(records: list[dict], method: str) -> str | None:
    """The factor with the best accuracy; None while some are not tried."""
    found = held_out(records, method)
    wanted = rates_to_try(records, method)
    if not all(rate in found for rate in wanted):
        return None
    return max(wanted, key=lambda rate: found[rate])


def rows(records: list[dict]) -> dict[str, list[dict]]:
    """The records of the table by row; those of the frame are made of one run's evaluation.

    Runs at another rate than the best one are of an earlier search, and of no row. While a search
    is going on, the rate is that of the last run.
    """
    table = sorted((r for r in records if r['stage'] == 'table'), key=lambda r: r['seed'])
    last = {r['method']: r['rate'] for r in records if r['stage'] == 'table'}
    rates = {method: best_rate(records, method) or last.get(method) for method in RECIPES}
    found = {m: [r for r in table if (r['method'], r['rate']) == (m, rates[m])] for m in RECIPES}
    for key, name in FRAME.items():
        framed = [r for r in found[SUPERVISED] if key in r['scores']]
        found[name] = [dict(r, scores=dict(checkpoint=r['scores'][key])) for r in framed]
    return {name: found for name, found in found.items() if found}


def ranked(found: dict[str, list[dict]]) -> list[str]:
    """Names of rows, the best kNN first."""
    return sorted(found, key=lambda name: -mean(accuracies(found[name], 'knn').values()))


def cells(name: str, found: list[dict]) -> list[str]:
    """Name, accuracies and minutes of a row; the frame of untrained rows took no training.

    The minutes are those of the seed that took the fewest.
    """
    scores = [spread([*accuracies(found, score).values()]) for score in SCORES]
    # Other work ran beside some of the runs, and made them longer.
    minutes = '' if name in FRAME.values() else f'{min(r["minutes"] for r in found):.0f}'
    # Objectives that this package adds are in bold.
    added = name in METHODS and not METHODS[name].startswith('baselines/')
    return [f'**{name}**' if added else name, *scores, minutes, f'{len(found)}']


def results(records: list[dict], methods: list[str] | None = None) -> str:
    """Accuracies, minutes and seeds of all methods or of some, beside the frame."""
    frame = [SUPERVISED, *FRAME.values()]
    found = {n: r for n, r in rows(records).items() if not methods or n in [*methods, *frame]}
    lines = [f'| | {" | ".join(SCORES.values())} | minutes | seeds |', '|---' * 5 + '|']
    lines += [f'| {" | ".join(cells(name, found[name]))} |' for name in ranked(found)]
    return '\n'.join(lines if methods else [*lines, *not_run(found)])


def not_run(found: dict[str, list[dict]]) -> list[str]:
    """A sentence about the methods without a row, if there are any."""
    names = [name for name in METHODS if name not in found]
    return ['', f'Not run yet: {", ".join(names)}.'] if names else []


def table(records: list[dict]) -> str:
    """The results of all methods with the differences from the best, the best kNN first."""
    found = rows(records)
    if not found:
        return 'No run of the table is done.'
    learned = [name for name in ranked(found) if name in METHODS]
    lines = [
        f'| | {" | ".join(SCORES.values())} | minutes | seeds | kNN minus the best | rate |',
        '|---' * 7 + '|',
    ]
    for name in ranked(found):
        less = ''
        if name in learned:
            knn, best = (accuracies(found[n], 'knn') for n in (name, learned[0]))
            less = 'the best' if name == learned[0] else difference(knn, best)
        rate = '' if name in FRAME.values() else f'x {found[name][0]["rate"]}'
        lines.append(f'| {" | ".join([*cells(name, found[name]), less, rate])} |')
    return '\n'.join([*lines, *not_run(found)])


def tried(found: dict[str, list[dict]]) -> list[Claim]:
    """The claims both of whose rows are there."""
    return [claim for claim in CLAIMS if claim.first in found and claim.second in found]


def both(found: dict[str, list[dict]], claim: Claim) -> list[tuple[dict, dict]]:
    """The accuracies of the two rows of a claim by seed, a pair for each of SCORES."""
    return [tuple(accuracies(found[n], s) for n in (claim.first, claim.second)) for s in SCORES]


def common_seeds(pairs: list[tuple[dict, dict]]) -> int:
    """How many seeds two rows have in common."""
    first, second = pairs[0]
    return len(first.keys() & second.keys())


def pairs(records: list[dict]) -> str:
    """The differences that papers claim."""
    found = rows(records)
    lines = ['| | kNN | linear | seeds |', '|---|---|---|---|']
    for claim in tried(found):
        values = both(found, claim)
        cells = [f'{claim.first} minus {claim.second}', *(difference(*pair) for pair in values)]
        lines.append(f'| {" | ".join(cells)} | {common_seeds(values)} |')
    return '\n'.join(lines) if len(lines) > 2 else 'No pair is done.'


def at_the_end(records: list[dict]) -> list[str]:
    """A sentence about the methods whose best factor is the largest or the smallest tried."""
    lowest, *_, highest = RATES
    places = {m: best_rate(records, m) for m in RECIPES}
    found = {
        name: [m for m, rate in places.items() if rate == end]
        for name, end in (('largest', highest), ('smallest', lowest))
    }
    told = [f'the {name} for {", ".join(some)}' for name, some in found.items() if some]
    text = f'The best factor is {" and ".join(told)}, so that one beyond it might be better.'
    return ['', text] if told else []


def search(records: list[dict]) -> str:
    """Accuracies on held-out training images by method and factor."""
    lines = [
        f"| kNN, % | recipe's rate | {' | '.join(f'x {rate}' for rate in RATES)} |",
        '|---|---|' + '---|' * len(RATES),
    ]
    for method in RECIPES:
        found = held_out(records, method)
        if not found:
            continue
        best = best_rate(records, method)
        cells = [told(found.get(rate), rate == best) for rate in RATES]
        lr = recipe(method).optim_wrapper.optimizer.lr
        lines.append(f'| {method} | {lr:g} | {" | ".join(cells)} |')
    if len(lines) == 2:
        return 'No run of the search is done.'
    return '\n'.join([*lines, *at_the_end(records)])


def told(accuracy: float | None, best: bool) -> str:
    """A cell of the search."""
    if accuracy is None:
        return 'not run'
    text = f'{accuracy:.1f}' if accuracy >= 0 else 'diverged'
    return f'**{text}**' if best else text


def both_scores(record: dict) -> str:
    """Both accuracies of a run."""
    if 'diverged' in record:
        return 'diverged'
    return ' / '.join(f'{record["scores"]["checkpoint"][score]:.1f}' for score in SCORES)


def repeated(records: list[dict]) -> str:
    """The accuracies of the runs that were made again, before and now."""
    lines = ['| kNN / linear, % | before | now |', '|---|---|---|']
    for before in (r for r in records if 'replaced' in r and r['stage'] == 'table'):
        same = ('method', 'stage', 'seed', 'rate')
        now = [r for r in records if all(r[k] == before[k] for k in same) and 'replaced' not in r]
        runs = [before, *now]
        cells = [both_scores(r) for r in runs]
        lines.append(f'| {before["method"]} | {" | ".join([*cells, "to be run"][:2])} |')
    return '\n'.join(lines)


def page(records: list[dict]) -> dict[str, str]:
    """The generated parts of the README."""
    learned = {name: found for name, found in rows(records).items() if name in METHODS}
    return dict(
        table=table(records),
        pairs=pairs(records),
        search=search(records),
        without_labels=correlations_table(learned),
        alarms=alarms_table(learned),
    )


def verdicts(records: list[dict]) -> list[dict]:
    """Whether each method is better than what its paper compares it with."""
    found = rows(records)
    told = []
    for claim in tried(found):
        values = both(found, claim)
        if any(comparisons.compared(*pair) is None for pair in values):
            continue
        numbers = f'{comparisons.differences(values)} points'
        told.append(
            dict(
                claim=claim.says,
                source=claim.source,
                verdict=comparisons.verdict(values),
                numbers=f'{numbers}, {EPOCHS} epochs, {common_seeds(values)} seeds',
            )
        )
    return told
