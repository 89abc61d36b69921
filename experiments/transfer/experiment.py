"""Backbones of the CIFAR-10 table on other images: frozen, fine-tuned, and in a detector."""

import json
from pathlib import Path
from statistics import mean

import cifar10
from comparisons import difference, spread, verdict

EPOCHS = 8
# The methods, and the backbone without training, which evaluate.py draws beside the supervised one.
RANDOM, SUPERVISED = 'random', 'supervised'
METHODS = ('MEC', 'BYOL+ER', 'MinEnt', 'SimCLR', 'BYOL', SUPERVISED)
# MEC is compared with these.
RIVALS = ('SimCLR', 'BYOL')
TABLE = 'configs/baselines/simclr_fast_r18s_1xb256_10e_cifar10.py'
DETECTOR = 'configs/benchmarks/detection/mask-rcnn_r18s_1xb8_8e_digits.py'
TASKS = {'digits': 'Digits', 'fashion_mnist': 'Fashion-MNIST'}
PROTOCOLS = {'knn': 'kNN', 'linear': 'linear', 'semi10': 'fine-tuned'}
PRECISIONS = {'bbox': 'box AP', 'segm': 'mask AP'}


def backbone(method: str, seed: int) -> str:
    """The file that experiments/cifar10_table keeps of a run."""
    return f'experiments/cifar10_table/backbones/{method}_seed{seed}.pth'


def classified(method: str, task: str, seed: int) -> dict:
    """A run that classifies frozen features, and fine-tunes with a tenth of the labels."""
    changes = {
        'checkpoint': [backbone(method, seed)],
        '--data': [f'experiments/transfer/{task}.py'],
        '--protocols': [','.join(PROTOCOLS)],
        '--out': ['{out}'],
    }
    if method == SUPERVISED:
        changes['--random'] = []
    label = dict(method=method, task=task, epochs=EPOCHS)
    return dict(label=label, recipe='tools/evaluate.py', changes=changes, seed=seed)


def detected(method: str, seed: int) -> dict:
    """A run that trains Mask R-CNN on canvases of digits."""
    init = None
    if method != RANDOM:
        init = dict(type='PretrainedBackbone', checkpoint=backbone(method, seed))
    preprocessor = cifar10.config(TABLE).data_preprocessor
    width = cifar10.CHANNELS
    cfg = cifar10.config(DETECTOR)
    changes = {
        'model.backbone.init_cfg': init and dict(init, _delete_=True),
        'model.backbone.in_channels': 3,
        'model.backbone.stem_channels': width,
        'model.backbone.base_channels': width,
        'model.neck.in_channels': [2 * width, 4 * width],
        'model.data_preprocessor.mean': [*preprocessor.mean],
        'model.data_preprocessor.std': [*preprocessor.std],
    }
    for loader in ('train_dataloader', 'val_dataloader'):
        pipeline = [dict(step) for step in cfg[loader].dataset.pipeline]
        pipeline[0]['color_type'] = 'color'
        changes[f'{loader}.dataset.pipeline'] = pipeline
        changes[f'{loader}.num_workers'] = 0
        changes[f'{loader}.persistent_workers'] = False
    label = dict(method=method, task='detection', epochs=EPOCHS)
    return dict(label=label, recipe=DETECTOR, changes=changes, seed=seed)


def runs(records: list[dict], seeds: int) -> list[dict]:
    """All tasks of a method after the other, a seed of all methods after the other."""
    found = []
    for seed in range(seeds):
        found += [classified(method, task, seed) for method in METHODS for task in TASKS]
        found += [detected(method, seed) for method in (*METHODS, RANDOM)]
    return found


def smoke(run: dict) -> dict | None:
    """Digits, with a backbone that comes with the package."""
    if run['label']['method'] not in ('MEC', SUPERVISED) or run['label']['task'] != 'digits':
        return None
    checkpoint = 'zoo://mec_fast_r18s_1xb256_10e_cifar10'
    return {'checkpoint': [checkpoint], '--protocols': ['knn']}


def measured(run: dict, folder: Path) -> dict:
    """The scores of a classification, or the precisions of the detector at its end."""
    file = folder / 'measured.json'
    if file.exists():
        return dict(scores=json.loads(file.read_text()))
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    last = [line for line in lines if 'coco/bbox_mAP' in line][-1]
    return dict(scores={name: 100 * last[f'coco/{name}_mAP'] for name in PRECISIONS})


def scores(records: list[dict], method: str, task: str) -> list[dict]:
    """The scores of a method in a task, a row a seed; those without training are drawn beside."""
    beside = method == RANDOM and task in TASKS
    run, row = (SUPERVISED, 'random') if beside else (method, 'checkpoint')
    found = [r for r in records if (r['method'], r['task']) == (run, task)]
    return [dict(r['scores'][row] if task in TASKS else r['scores'], seed=r['seed']) for r in found]


def columns() -> dict[tuple[str, str], str]:
    """Task and score of each column, and its title."""
    found = {
        (task, protocol): f'{title}, {name}'
        for task, title in TASKS.items()
        for protocol, name in PROTOCOLS.items()
    }
    return found | {('detection', name): title for name, title in PRECISIONS.items()}


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    lines = [f'| % | {" | ".join(columns().values())} |', '|---' * (1 + len(columns())) + '|']
    for method in (*METHODS, RANDOM):
        found = [
            [row[s] for row in scores(records, method, task) if s in row] for task, s in columns()
        ]
        if any(found):
            cells = [spread(values) if values else '' for values in found]
            lines.append(f'| {method} | {" | ".join(cells)} |')
    return dict(table='\n'.join(lines) if len(lines) > 2 else 'No run is done.')


def verdicts(records: list[dict]) -> list[dict]:
    """Whether MEC transfers better than SimCLR and BYOL, in the mean over all columns."""
    return [
        dict(
            claim=f'Features of MEC are less biased: they transfer better than those of {other}',
            source='arXiv 2210.11464, tables 2 to 4',
            verdict=verdict([mean_pair]),
            numbers=f'mean over {len(columns())} columns: {difference(*mean_pair)}; '
            f'{alone(records, other)}',
        )
        for other in RIVALS
        for mean_pair in [tuple(mean_by_seed(records, method) for method in ('MEC', other))]
        if all(len(values) > 1 for values in mean_pair)
    ]


def by_seed(records: list[dict], method: str, column: tuple[str, str]) -> dict[int, float]:
    """The score of a method in a column, by seed."""
    task, score = column
    return {row['seed']: row[score] for row in scores(records, method, task) if score in row}


def mean_by_seed(records: list[dict], method: str) -> dict[int, float]:
    """The mean of a method over all columns, by seed, of seeds that all of them have."""
    found = [by_seed(records, method, column) for column in columns()]
    seeds = set.intersection(*map(set, found))
    return {seed: mean(values[seed] for values in found) for seed in sorted(seeds)}


def alone(records: list[dict], other: str) -> str:
    """In which columns, each by itself, MEC is better than another method, and in which worse."""
    places: dict[str, list[str]] = {'confirmed': [], 'refuted': [], 'undecided': []}
    for column, title in columns().items():
        pair = tuple(by_seed(records, method, column) for method in ('MEC', other))
        places[verdict([pair])].append(title.replace(',', ''))
    better, worse = (', '.join(places[key]) or 'none' for key in ('confirmed', 'refuted'))
    return f'by themselves, better in {better} and worse in {worse}'
