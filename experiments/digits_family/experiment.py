"""The entropy objectives of the family on Digits, in the quickstart's 50 epochs."""

from statistics import mean

from comparisons import spread
from mmengine.config import Config
from records import ROOT

METHODS = {
    'VICReg': 'vicreg',
    'EMP-SSL': 'emp_ssl',
    'I-VNE+': 'ivne',
    'FroSSL': 'frossl',
    'MMCR': 'mmcr',
    'CorInfoMax': 'corinfomax',
    'INTL': 'intl',
    'LeJEPA': 'lejepa',
    'SimDINO': 'simdino',
    'Matrix-SSL': 'matrix_ssl',
}
EPOCHS = 50
# The changes that were compared for the objectives with an EMA: the papers' EMA, faster ones, and
# other learning rates.
SLOW = {'model.base_momentum': 0.004}
TRIED = {
    'EMA 0.996': SLOW,
    'EMA 0.95': {'model.base_momentum': 0.05},
    'EMA 0.9': {'model.base_momentum': 0.1},
    'EMA 0.996, learning rate / 3': SLOW | {'optim_wrapper.optimizer.lr': 2e-3 / 3},
    'EMA 0.996, learning rate x 3': SLOW | {'optim_wrapper.optimizer.lr': 6e-3},
}
WITH_EMA = ('SimDINO', 'Matrix-SSL')
SCORES = {'knn': 'kNN (k = 20), %', 'linear': 'linear probe, %'}


def run(method: str, seed: int, tried: str | None = None, changes: dict | None = None) -> dict:
    """A run of the recipe as it stands, or with changes that are tried."""
    return dict(
        label=dict(method=method, tried=tried, epochs=EPOCHS),
        recipe=f'configs/family/{METHODS[method]}_r18s_1xb64_50e_digits.py',
        changes=changes or {},
        seed=seed,
        evaluate=['--protocols', 'knn,linear'],
    )


def fold(loader: str, pipeline: list[dict], held_out: bool) -> dict:
    """The change of a data set to a fifth of the training images, drawn once, or to the others."""
    whole = dict(type='Digits', split='train', pipeline=pipeline)
    parts = dict(type='KFoldDataset', num_splits=5, seed=0, test_mode=held_out)
    return {loader: dict(parts, dataset=whole, _delete_=True)}


def trial(method: str, tried: str) -> dict:
    """A run on four fifths of the training images, whose queries are the fifth that is held out."""
    cfg = Config.fromfile(ROOT / run(method, 0)['recipe'])
    view = cfg.train_dataloader.dataset.pipeline
    changes = fold('train_dataloader.dataset', view, held_out=False)
    changes |= fold('eval_datasets.train', cfg.eval_pipeline, held_out=False)
    changes |= fold('eval_datasets.test', cfg.eval_pipeline, held_out=True)
    return run(method, 0, tried, changes | TRIED[tried])


def runs(records: list[dict], seeds: int) -> list[dict]:
    """A seed of all objectives after the other, and then what was tried."""
    found = [run(method, seed) for seed in range(seeds) for method in METHODS]
    return found + [trial(method, tried) for method in WITH_EMA for tried in TRIED]


def smoke(run: dict) -> dict | None:
    """The shortest schedule with the recipe's warm-up, of an objective and of a trial."""
    parts = {
        ('LeJEPA', None): ['train_dataloader.dataset', 'eval_datasets.train'],
        ('SimDINO', 'EMA 0.9'): ['train_dataloader.dataset.dataset'],
    }
    label = run['label']['method'], run['label']['tried']
    if label not in parts:
        return None
    return {f'{part}.indices': 160 for part in parts[label]} | {'train_cfg.max_epochs': 6}


def reached(records: list[dict]) -> str:
    """Means and deviations of the recipes as they stand."""
    lines = [f'| | {" | ".join(SCORES.values())} | minutes | seeds |', '|---|---|---|---|---|']
    for method in METHODS:
        found = [r for r in records if r['method'] == method and 'tried' not in r]
        if found:
            scores = [r['scores']['checkpoint'] for r in found]
            cells = [spread([s[protocol] for s in scores]) for protocol in SCORES]
            minutes = mean(r['minutes'] for r in found)
            lines.append(f'| {method} | {" | ".join(cells)} | {minutes:.1f} | {len(found)} |')
    return '\n'.join(lines) if len(lines) > 2 else 'No run is done.'


def tried(records: list[dict]) -> str:
    """Accuracies of kNN on held-out training images, by what was changed."""
    lines = [f'| kNN of held-out training images, % | {" | ".join(TRIED)} |']
    lines += ['|---|' + '---|' * len(TRIED)]
    for method in WITH_EMA:
        found = {r['tried']: r for r in records if r['method'] == method and 'tried' in r}
        cells = [
            f'{found[name]["scores"]["checkpoint"]["knn"]:.1f}' if name in found else 'not run'
            for name in TRIED
        ]
        lines.append(f'| {method} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def page(records: list[dict]) -> dict[str, str]:
    """The generated parts of the README."""
    return dict(table=reached(records), tried=tried(records))
