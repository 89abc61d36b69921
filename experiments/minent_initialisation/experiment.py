"""MinEnt on CIFAR-10, begun as the authors begin and as mmpretrain begins a ResNet."""

import cifar10
from comparisons import spread

RECIPES = dict(
    authors='configs/minent/minent_fast_r18s_1xb256_10e_cifar10.py',
    mmpretrain='configs/minent/minent_fast_zeroinit_r18s_1xb256_10e_cifar10.py',
)
TITLES = dict(authors="the authors' network", mmpretrain="mmpretrain's default")
EPOCHS = 5


def runs(records: list[dict], seeds: int) -> list[dict]:
    """Both initialisations, a seed after the other."""
    changes = cifar10.data() | {
        'optim_wrapper.type': 'BFloat16OptimWrapper',
        'train_cfg.max_epochs': EPOCHS,
        'custom_hooks': cifar10.FAST,
    }
    return [
        dict(
            label=dict(initialisation=name, epochs=EPOCHS),
            recipe=recipe,
            changes=changes,
            seed=seed,
            evaluate=['--protocols', 'knn,linear'],
        )
        for seed in range(seeds)
        for name, recipe in RECIPES.items()
    ]


def smoke(run: dict) -> dict:
    """Two epochs of two batches."""
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    lines = ['| begins as | kNN (k = 20) | linear probe | seeds |', '|---|---|---|---|']
    for name, title in TITLES.items():
        scores = [r['scores']['checkpoint'] for r in records if r['initialisation'] == name]
        if scores:
            cells = [spread([s[protocol] for s in scores]) for protocol in ('knn', 'linear')]
            lines.append(f'| {title} | {" | ".join(cells)} | {len(scores)} |')
    return dict(table='\n'.join(lines))
