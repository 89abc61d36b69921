"""What keeps the objectives of this package behind SimCLR on CIFAR-10: one change at a time."""

import cifar10
import cifar10_table.experiment as table
from comparisons import accuracies
from records import Places, read_records

EPOCHS = table.SEARCH_EPOCHS
WIDTH = 128
NONE = 'none'
BATCH = {'batch 128': {'train_dataloader.batch_size': 128}}
KAPPA = {'kappa 20': {'model.head.loss.kappa': 20.0}}
# SimCLR's projector has two layers.
LAYERS = {'projector of two layers': {'model.neck.num_layers': 2}}
CAUSES = {
    'SimCLR': BATCH,
    'MEC': {
        'distortion 0.25': {'model.head.loss.distortion': 0.25},
        'distortion 1': {'model.head.loss.distortion': 1.0},
        'no EMA': {'model.base_momentum': None},
        f'{WIDTH} dimensions': {
            'model.neck.out_channels': WIDTH,
            'model.head.predictor.in_channels': WIDTH,
            'model.head.predictor.out_channels': WIDTH,
        },
        **BATCH,
    },
    'MinEnt': {
        'one head of 128 classes': {'model.head.out_channels': 128},
        'hidden layers of 128': {'model.head.hid_channels': 128},
        **BATCH,
    },
    'SimCLR+ER': KAPPA | BATCH,
    'BYOL+ER': KAPPA | BATCH,
    'DINO+ER': {
        'target temperature 0.07': {'model.head.loss.target_temperature': 0.07},
        '512 prototypes': {'model.neck.num_prototypes': 512},
        **BATCH,
    },
    **{name: LAYERS | BATCH for name in table.METHODS if 'family/' in table.METHODS[name]},
}


def settings() -> dict[str, tuple[str, float, dict]]:
    """Recipe, best factor of the table's search and changes, by method and cause.

    A method whose search is not done is left out.
    """
    folder = cifar10.ROOT / 'experiments/cifar10_table'
    records = read_records(Places(folder, folder, None))
    best = {method: table.best_rate(records, method) for method in CAUSES}
    return {
        f'{method}, {cause}': (table.RECIPES[method], table.RATES[best[method]], changes)
        for method, causes in CAUSES.items()
        if best[method] is not None
        for cause, changes in {NONE: {}, **causes}.items()
    }


def runs(records: list[dict], seeds: int) -> list[dict]:
    """Every change with one seed, whatever ``seeds`` is, as in the table's search."""
    return cifar10.setting_runs(settings(), EPOCHS, 1, held_out=True)


def smoke(run: dict) -> dict | None:
    """Two batches of one change."""
    if run['label']['setting'] != f'MEC, {WIDTH} dimensions':
        return None
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def reached(records: list[dict], method: str, cause: str) -> float | None:
    """The accuracy of a method with a change, of its one run; None if there is none."""
    runs = [r for r in records if r['setting'] == f'{method}, {cause}']
    return next(iter(accuracies(runs, 'knn').values()), None)


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    lines = ['| | change | kNN of held-out images, % | minus the recipe |', '|---|---|---|---|']
    for method, causes in CAUSES.items():
        base = reached(records, method, NONE)
        for cause in (NONE, *causes):
            value = reached(records, method, cause)
            told = 'not run' if value is None else f'{value:.1f}'
            less = f'{value - base:+.1f}' if value and base and cause != NONE else ''
            lines.append(f'| {method} | {cause} | {told} | {less} |')
    return dict(table='\n'.join(lines))
