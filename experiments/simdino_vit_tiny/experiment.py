"""SimDINO with ViT-Tiny and local views on CIFAR-10, with curves of its loss and effective rank."""

from pathlib import Path

from cifar10 import LABELLED, data, images

from mmentropy.report.runs import read_run

RECIPE = 'configs/family/simdino_vit-tiny_1xb256_10e_cifar10.py'
EPOCHS, BATCH = 5, 128
# Iterations between two points of the loss curve.
INTERVAL = 3
# The titles of the curves, and the names of the logged values that they show.
CURVES = {
    'loss': 'loss',
    'RankMe of the projections': 'monitor/projector/rankme',
}
# Smoke tests have so little of a ViT.
NARROW = dict(embed_dims=192, num_layers=1, num_heads=3, feedforward_channels=192)


def part(splits: int, fold: int, pipeline: list[dict]) -> dict:
    """One of so many parts of the training images, drawn once."""
    whole = images('train', pipeline)
    return dict(
        type='KFoldDataset', dataset=whole, num_splits=splits, fold=fold, seed=0, test_mode=True
    )


def runs(records: list[dict], seeds: int) -> list[dict]:
    """The recipe on a fifth of the training images, which stay decoded, a run a seed.

    At the end the log tells the kNN accuracy of 2,000 other training images by 2,000 more.
    """
    changes = data()
    pipeline = changes['train_dataloader.dataset']['pipeline']
    bank = part(5, 0, LABELLED)
    changes |= {
        'train_dataloader.dataset': dict(part(5, 0, pipeline), _delete_=True),
        'train_dataloader.batch_size': BATCH,
        'eval_datasets.train': dict(bank, _delete_=True),
        'optim_wrapper.type': 'BFloat16OptimWrapper',
        'optim_wrapper.optimizer.lr': 5e-4 * BATCH / 256,
        'train_cfg.max_epochs': EPOCHS,
        'default_hooks.logger.interval': INTERVAL,
        'default_hooks.checkpoint.interval': 1,
        'custom_hooks': [
            dict(type='KNNHook', train=part(25, 10, LABELLED), test=part(25, 20, LABELLED)),
            dict(type='EntropyMonitorHook', interval=39),
            dict(type='ResidentImagesHook'),
        ],
    }
    label = dict(method='SimDINO', epochs=EPOCHS)
    evaluate = ['--protocols', 'knn,linear', '--random']
    return [
        dict(label=label, recipe=RECIPE, changes=changes, seed=seed, evaluate=evaluate)
        for seed in range(seeds)
    ]


def smoke(run: dict) -> dict:
    """Two epochs of a small network, on half of the few images."""
    hooks = run['changes']['custom_hooks']
    few, others = part(2, 0, LABELLED), part(2, 1, LABELLED)
    return {
        'train_dataloader.dataset.num_splits': 2,
        'train_dataloader.batch_size': 4,
        'eval_datasets.train': dict(few, _delete_=True),
        'model.backbone.arch': dict(NARROW, _delete_=True),
        'train_cfg.max_epochs': 2,
        'custom_hooks': [dict(hooks[0], train=few, test=others), dict(hooks[1], interval=2)],
    }


def measured(run: dict, folder: Path) -> dict:
    """The curves of a run, by iteration."""
    log = read_run(folder)
    return dict(
        curves={
            name: {step: round(value, 4) for step, value in log.points(name)}
            for name in CURVES.values()
        }
    )


def page(records: list[dict]) -> dict[str, str]:
    """The scores of each seed beside the same network before training."""
    lines = [
        '| seed | kNN (k = 20), % | linear probe, % | random: kNN, linear | epochs | minutes |'
    ]
    lines += ['|---|---|---|---|---|---|']
    for record in records:
        trained, random = record['scores']['checkpoint'], record['scores']['random']
        lines.append(
            f'| {record["seed"]} | {trained["knn"]:.1f} | {trained["linear"]:.1f} '
            f'| {random["knn"]:.1f}, {random["linear"]:.1f} '
            f'| {record["epochs"]} | {record["minutes"]:.0f} |'
        )
    lines += ['', '![Loss and effective rank over training](figure.png)']
    return dict(scores='\n'.join(lines) if records else 'No run is done.')


def draw(records: list[dict], folder: Path) -> None:
    """Draw loss and effective rank over training, a line a seed."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3))
    for axis, (title, name) in zip(axes, CURVES.items()):
        for record in records:
            points = record['curves'][name]
            steps = [int(step) for step in points]
            axis.plot(steps, [*points.values()], label=f'seed {record["seed"]}')
        axis.set_title(title)
        axis.set_xlabel('iteration')
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(folder / 'figure.png', dpi=80, metadata=dict(Software=None))
    pyplot.close(figure)
