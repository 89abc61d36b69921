"""MEC added to the losses of SimSiam and SimCLR on CIFAR-10."""

import cifar10
from comparisons import SCORES, accuracies, compared, differences, settings_table, verdict

RECIPE = 'configs/baselines/{}_fast_r18s_1xb256_10e_cifar10.py'
EPOCHS = 3
MEC = dict(type='MECLoss', distortion=0.06, warmup=0.1, warmup_factor=8.0, guard=True, max_norm=0.9)
# The search of experiments/cifar10_table found these factors on the recipe's rate to be the best.
FACTORS = {'SimSiam': 1 / 3, 'SimCLR': 9.0}
# The gains of the paper, in points of kNN and of the linear probe.
GAINS = {'SimSiam': (1.4, 1.2), 'SimCLR': (2.4, 2.3)}
WITH_MEC = {name: f'{name} with MEC' for name in FACTORS}
SETTINGS = {
    setting: (RECIPE.format(name.lower()), rate, changes)
    for name, rate in FACTORS.items()
    for setting, changes in {
        name: {},
        WITH_MEC[name]: {
            'model.type': 'WithMEC',
            'model.algorithm': name,
            'model.mec': MEC,
            'model.weight': 1.0,
        },
    }.items()
}


def runs(records: list[dict], seeds: int) -> list[dict]:
    """Both methods without and with MEC, a seed after the other."""
    return cifar10.setting_runs(SETTINGS, EPOCHS, seeds)


def smoke(run: dict) -> dict | None:
    """Two batches of the two with MEC."""
    if run['label']['setting'] not in WITH_MEC.values():
        return None
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    return dict(table=settings_table(records, SETTINGS))


def verdicts(records: list[dict]) -> list[dict]:
    """Whether each method is better with MEC than without."""
    found = []
    for name, setting in WITH_MEC.items():
        both = [[r for r in records if r['setting'] == s] for s in (setting, name)]
        pairs = [tuple(accuracies(rows, score) for rows in both) for score in SCORES]
        if None in [compared(*pair) for pair in pairs]:
            continue
        knn, linear = GAINS[name]
        found.append(
            dict(
                claim=f'MEC as a regulariser improves {name} (kNN +{knn}, linear +{linear})',
                source='arXiv 2210.11464, figure 5',
                verdict=verdict(pairs),
                numbers=f'{differences(pairs)} points',
            )
        )
    return found
