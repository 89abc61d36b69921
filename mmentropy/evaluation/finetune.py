"""Fine-tuning of the whole network on few labels."""

import math

import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmentropy.checks.arguments import COUNT, INDEX, POSITIVE, require
from mmentropy.datasets.loader_processes import list_loader
from mmentropy.evaluation.features import backbone_features, collate, eval_mode, preprocess
from mmentropy.evaluation.progress import progress


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
    A Runner would want a working directory and log a page for a minute of training.

    Args:
        backbone: is trained, on the device where it is.
        data_preprocessor: that of the backbone.
        train: has one label per row, as ``test`` has.
        test: the rows to be classified.
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
    loader = list_loader(
        train,
        batch_size,
        num_workers,
        shuffle=True,
        # The rest could be one image, which has no batch statistics.
        drop_last=True,
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )
    epochs = max(epochs, math.ceil(min_steps / len(loader)))
    device = next(backbone.parameters()).device
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        network = _Network(backbone, data_preprocessor, train).to(device)
        _train(network, loader, epochs, learning_rate * batch_size / 256)
    correct = 0
    loader = list_loader(test, 256, num_workers)
    with eval_mode(network), torch.no_grad():
        for items in progress(loader, 'testing'):
            logits, labels = network(items)
            correct += (logits.argmax(1) == labels).sum().item()
    return 100 * correct / len(test)


class _Network(nn.Module):
    """A backbone with a linear classifier from zero, for items of data sets like ``dataset``."""

    def __init__(
        self, backbone: nn.Module, data_preprocessor: nn.Module, dataset: BaseDataset
    ) -> None:
        super().__init__()
        self.backbone = backbone
        # As a child alone it would not know that it has moved.
        self.data_preprocessor = data_preprocessor.to(next(backbone.parameters()).device)
        self.name = type(dataset).__name__
        self.head: nn.Module = nn.Identity()
        with eval_mode(backbone), torch.no_grad():
            width = self([dataset[0]])[0].shape[1]
        labels = [dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))]
        self.head = nn.Linear(width, int(max(labels)) + 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, items: list) -> tuple[Tensor, Tensor]:
        """Return logits (N, classes) and labels (N,)."""
        inputs, samples = collate(items, self.name)
        inputs = preprocess(inputs, samples, self.data_preprocessor, self.backbone)
        x = backbone_features(self.backbone, inputs)
        labels = torch.cat([sample.gt_label for sample in samples or ()])
        return self.head(x), labels.to(x.device)


def _train(network: _Network, loader: DataLoader, epochs: int, learning_rate: float) -> None:
    parameters = [*network.backbone.parameters(), *network.head.parameters()]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=learning_rate, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    network.train()
    for _ in progress(range(epochs), 'fine-tuning', 'epoch'):
        for items in loader:
            logits, labels = network(items)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            scheduler.step()
