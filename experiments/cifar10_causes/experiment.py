"""What keeps the objectives of this package behind SimCLR on CIFAR-10: one change at a time."""

import cifar10
import cifar10_table.experiment as table
from records import Places, read_records

EPOCHS = table.SEARCH_EPOCHS
WIDTH = 128
NONE = 'none'
# It is tried where the table's search ended at its largest rate.
FASTER = 'three times the learning rate'
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


def rates() -> dict[str, str]:
    """The best factor of the table's search by method; others have none."""
    folder = cifar10.ROOT / 'experiments/cifar10_table'
    records = read_records(Places(folder, folder, None))
    best = {method: table.best_rate(records, method) for method in CAUSES}
    return {method: rate for method, rate in best.items() if rate is not None}


def tried(method: str, rate: str) -> dict[str, tuple[float, dict]]:
    """Factor on the recipe's learning rate and changes by cause."""
    factor = table.RATES[rate]
    found = {cause: (factor, changes) for cause, changes in CAUSES[method].items()}
    if factor == max(table.RATES.values()):
        found[FASTER] = 3 * factor, {}
    return {NONE: (factor, {}), **found}


def settings() -> dict[str, tuple[str, float, dict]]:
    """Recipe, factor on its learning rate and changes, by method and cause."""
    return {
        f'{method}, {cause}': (table.RECIPES[method], *change)
        for method, rate in rates().items()
        for cause, change in tried(method, rate).items()
    }


def runs(records: list[dict], seeds: int) -> list[dict]:
    """Every change with one seed, whatever ``seeds`` is, as in the table's search.

    What all methods have is run first: no change, and half of the batch.
    """
    found = cifar10.setting_runs(settings(), EPOCHS, 1, held_out=True)
    first = tuple(f', {cause}' for cause in (NONE, *BATCH))
    return sorted(found, key=lambda run: not run['label']['setting'].endswith(first))


def smoke(run: dict) -> dict | None:
    """Two batches of one change."""
    if run['label']['setting'] != f'MEC, {WIDTH} dimensions':
        return None
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    lines = [
        '| | change | kNN of held-out images, % | minus the recipe | processor |',
        '|---|---|---|---|---|',
    ]
    runs = {r['setting']: r for r in records}
    for method, rate in rates().items():
        base = runs.get(f'{method}, {NONE}')
        for cause in tried(method, rate):
            cells = row(runs.get(f'{method}, {cause}'), base)
            lines.append(f'| {method} | {cause} | {" | ".join(cells)} |')
    return dict(table='\n'.join(lines))


def row(record: dict | None, base: dict | None) -> list[str]:
    """Accuracy, what it is minus that without a change on the same processor, and the processor."""
    if record is None:
        return ['not run', '', '']
    value = record['scores']['checkpoint']['knn']
    less = ''
    if base and base is not record and processors(base) == processors(record):
        less = f'{value - base["scores"]["checkpoint"]["knn"]:+.1f}'
    return [f'{value:.1f}', less, ' and '.join(processors(record))]


def processors(record: dict) -> list[str]:
    """The processors that a run was made on, the last one last."""
    machines = [session['machine'] for session in (*record.get('earlier', ()), record)]
    return [*dict.fromkeys(m.split(' cores of ')[-1].split(',')[0] for m in machines)]
