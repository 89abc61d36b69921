"""Fine-tuning of the whole network on few labels."""

import math

import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmentropy.checks.arguments import COUNT, INDEX, POSITIVE, require
from mmentropy.evaluation.features import backbone_features, collate, eval_mode, preprocess


def finetune_accuracy(
    backbone: nn.Module,
    data_preprocessor: nn.Module,
    train: BaseDataset,
    test: BaseDataset,
    epochs: int = 50,
    batch_size: int = 256,
    learning_rate: float = 0.05,
    min_steps: int = 100,
    num_workers: int = 0,
    seed: int = 0,
) -> float:
    """Return the test top-1 in percent after training backbone and linear classifier.

    The optimisation is MEC's (arXiv:2210.11464, 4.1): SGD, momentum 0.9, no decay, cosine
    schedule, one rate for both, classifier from zero. The images are those of the data sets'
    pipelines: for its augmentation and batch of 1,024 train ``configs/benchmarks/semi_supervised``.
    This is a loop of its own, since a Runner wants a working directory and logs a page for a
    minute of training.

    Args:
        backbone: is trained, on the device where it is.
        data_preprocessor: that of the backbone.
        train: one label per row.
        test: one label per row.
        epochs: passes over the training rows.
        batch_size: images per step; all where there are fewer.
        learning_rate: at batch 256, linear in the batch.
        min_steps: more passes are made where ``epochs`` would be fewer steps.
        num_workers: loader processes.
        seed: of dropout and the order of the batches.
    """
    require(COUNT, epochs=epochs, batch_size=batch_size, min_steps=min_steps)
    require(POSITIVE, learning_rate=learning_rate)
    require(INDEX, num_workers=num_workers, seed=seed)
    batch_size = min(batch_size, len(train))
    loader = DataLoader(
        train,
        batch_size,
        shuffle=True,
        # The rest could be one image, which has no batch statistics.
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=list,
        generator=torch.Generator().manual_seed(seed),
    )
    epochs = max(epochs, math.ceil(min_steps / len(loader)))
    labels = [train.get_data_info(i)['gt_label'] for i in range(len(train))]
    with eval_mode(backbone), torch.no_grad():
        width = _features(backbone, data_preprocessor, [train[0]], train)[0].shape[1]
    device = next(backbone.parameters()).device
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        head = nn.Linear(width, int(max(labels)) + 1).to(device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        _train(backbone, data_preprocessor, head, loader, epochs, learning_rate * batch_size / 256)
    return _accuracy(backbone, data_preprocessor, head, test, num_workers)


def _features(
    backbone: nn.Module, data_preprocessor: nn.Module, items: list, dataset: Dataset
) -> tuple[Tensor, Tensor]:
    """Return features (N, D) and labels (N,) of items of a data set."""
    inputs, samples = collate(items, type(dataset).__name__)
    inputs = preprocess(inputs, samples, data_preprocessor)
    x = backbone_features(backbone, inputs)
    return x, torch.cat([sample.gt_label for sample in samples or ()]).to(x.device)


def _train(
    backbone: nn.Module,
    data_preprocessor: nn.Module,
    head: nn.Linear,
    loader: DataLoader,
    epochs: int,
    learning_rate: float,
) -> None:
    parameters = [p for p in (*backbone.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=learning_rate, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    backbone.train()
    for _ in range(epochs):
        for items in loader:
            x, y = _features(backbone, data_preprocessor, items, loader.dataset)
            optimizer.zero_grad()
            F.cross_entropy(head(x), y).backward()
            optimizer.step()
            scheduler.step()


def _accuracy(
    backbone: nn.Module,
    data_preprocessor: nn.Module,
    head: nn.Linear,
    test: BaseDataset,
    num_workers: int,
) -> float:
    loader = DataLoader(
        test, 256, num_workers=num_workers, collate_fn=list, generator=torch.Generator()
    )
    correct = 0
    with eval_mode(backbone), torch.no_grad():
        for items in loader:
            x, y = _features(backbone, data_preprocessor, items, test)
            correct += (head(x).argmax(1) == y).sum().item()
    return 100 * correct / len(test)
