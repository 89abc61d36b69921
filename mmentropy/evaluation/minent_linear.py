"""The linear classifier by which MinEnt and W-MSE report their accuracy."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, require
from mmentropy.evaluation.features import check_features
from mmentropy.evaluation.progress import progress
from mmentropy.evaluation.scored import check_class_labels


def minent_linear_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    epochs: int = 500,
    batch_size: int = 1000,
    seed: int = 0,
) -> float:
    """Return the test accuracy in percent of the linear classifier of MinEnt and W-MSE.

    It is softmax regression on features as they are by Adam, learning rate 1e-2 to 1e-6 by a
    factor per epoch, weight decay 5e-6, after the last epoch
    (LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py). What that code prints as its result is the best
    of dozens of checkpoints of a pre-training, picked on the test set; this is the accuracy of
    one checkpoint.

    Args:
        train_x, train_y: (N, D) and (N,) int64, not negative; all ranks' rows.
        test_x, test_y: (M, D) and (M,) int64.
        epochs: passes over the training rows.
        batch_size: rows per step; the last batch may be smaller.
        seed: of the first weights and the order of the batches.

    Raises:
        ValueError: a wrong argument, shape or non-finite feature.
    """
    check_features(train_x, train_y, test_x, test_y)
    check_class_labels(train_y.tolist(), test_y.tolist())
    require(COUNT, epochs=epochs, batch_size=batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layer = nn.Linear(train_x.shape[1], int(train_y.max()) + 1)
    layer.to(train_x.device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=5e-6)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, (1e-6 / 1e-2) ** (1 / epochs))
    generator = torch.Generator().manual_seed(seed)
    for _ in progress(range(epochs), 'linear probe of MinEnt', 'epoch'):
        order = torch.randperm(len(train_x), generator=generator)
        for rows in order.to(train_x.device).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(layer(train_x[rows]), train_y[rows]).backward()
            optimizer.step()
        scheduler.step()
    with torch.no_grad():
        predictions = layer(test_x).argmax(1)
    return 100 * (predictions == test_y).double().mean().item()
