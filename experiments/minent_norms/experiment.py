"""MinEnt on CIFAR-10 with each normalisation along the batch, without one, and with one head."""

from pathlib import Path

import cifar10
from comparisons import (
    SCORES,
    accuracies,
    compared,
    differences,
    settings_table,
    unanimous,
    verdict,
)
from monitor_records import monitored

from mmentropy.engine.collapse_alarms import DEAD_TARGETS

RECIPE = 'configs/minent/minent_fast_r18s_1xb256_10e_cifar10.py'
EPOCHS = 3
NORMS = {
    'batch norm': {},
    'softmax': {'model.head.loss.norm': 'softmax'},
    'L2 norm': {'model.head.loss.norm': 'l2'},
}
NONE, ONE_HEAD, WHOLE = 'no normalisation', 'one head', 'batch norm'
SETTINGS = {
    name: (RECIPE, 1.0, changes)
    for name, changes in {
        **NORMS,
        NONE: {'model.head.loss.norm': 'none'},
        ONE_HEAD: {'model.head.out_channels': 128},
    }.items()
}
SOURCE = 'Pattern Recognition 138, 109364'
MONITOR = dict(type='EntropyMonitorHook', interval=39)


def runs(records: list[dict], seeds: int) -> list[dict]:
    """All settings under the monitor, a seed after the other."""
    found = cifar10.setting_runs(SETTINGS, EPOCHS, seeds)
    for run in found:
        run['changes']['custom_hooks'] = [*run['changes']['custom_hooks'], MONITOR]
    return found


def smoke(run: dict) -> dict | None:
    """Two batches of two settings, which the monitor sees."""
    if run['label']['setting'] not in (NONE, ONE_HEAD):
        return None
    *hooks, monitor = run['changes']['custom_hooks']
    changes = {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}
    return changes | {'custom_hooks': [*hooks, dict(monitor, interval=2)]}


def measured(run: dict, folder: Path) -> dict:
    """What the monitor found."""
    return monitored(folder)


def used(records: list[dict], setting: str) -> list[float]:
    """The lowest sustained entropy of the targets, a share of the largest possible, by run."""
    return [r['lowest']['target_entropy'] for r in records if r['setting'] == setting]


def page(records: list[dict]) -> dict[str, str]:
    """The generated parts of the README."""
    lines = [f'| | alarm below | {" | ".join(SETTINGS)} |', '|---' * (2 + len(SETTINGS)) + '|']
    cells = [', '.join(f'{v:.2f}' for v in used(records, name)) for name in SETTINGS]
    lines.append(f'| target entropy, a seed each | {DEAD_TARGETS} | {" | ".join(cells)} |')
    return dict(table=settings_table(records, SETTINGS), entropy='\n'.join(lines))


def verdicts(records: list[dict]) -> list[dict]:
    """Whether normalising avoids a collapse, and whether several heads are better than one."""
    if not all(used(records, name) for name in SETTINGS):
        return []
    normalised = [v for name in NORMS for v in used(records, name)]
    without = used(records, NONE)
    as_claimed = [v >= DEAD_TARGETS for v in normalised] + [v < DEAD_TARGETS for v in without]
    told = [
        dict(
            claim='Any normalisation along the batch avoids the collapse, and none collapses',
            source=SOURCE,
            verdict=unanimous(as_claimed),
            numbers=f'target entropy at least {min(normalised):.2f} with batch norm, softmax and '
            f'L2 norm, at most {max(without):.2f} without',
        )
    ]
    both = [[r for r in records if r['setting'] == name] for name in (WHOLE, ONE_HEAD)]
    heads = [tuple(accuracies(rows, score) for rows in both) for score in SCORES]
    if None not in [compared(*pair) for pair in heads]:
        told.append(
            dict(
                claim='Several heads are better than one',
                source=SOURCE,
                verdict=verdict(heads),
                numbers=f'six heads minus one head: {differences(heads)} points',
            )
        )
    return told
