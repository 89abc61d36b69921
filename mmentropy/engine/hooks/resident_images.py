"""A small data set that stays decoded on the device."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor
from torch.utils.data import DataLoader

from mmentropy.engine.train_loop import replace_dataloader

# The images may take this share of the memory that is free on a GPU. The rest is for the network.
SHARE = 0.5


@HOOKS.register_module()
class ResidentImagesHook(Hook):
    """Decode the training set once and keep it on the device of the model.

    It works with ``BatchViews`` and images of one size. The views are the same, but no workers are
    started, and nothing is copied from the host while training runs.

    Raises:
        ValueError: The loader makes views itself, an image is of another size than the first, or
            all of them take more than half of the free memory of the GPU.
    """

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_loop.dataloader
        if not isinstance(loader, ResidentLoader):
            device = next(runner.model.parameters()).device
            images = decoded(loader.dataset, device)
            replace_dataloader(runner.train_loop, ResidentLoader(loader, images))


def decoded(dataset: Any, device: torch.device) -> Tensor:
    """Return all images of a data set that ends in PackImage, (N, C, H, W) uint8."""
    images: Tensor | None = None
    for i in range(len(dataset)):
        image = dataset[i].get('inputs')
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.dim() != 3:
            raise ValueError(
                'ResidentImagesHook needs the data set to give one uint8 image each: set '
                "data_preprocessor=dict(type='BatchViews', ...) and end the pipeline of "
                'train_dataloader in PackImage'
            )
        if images is None:
            shape = tuple(image.shape)
            check_memory(len(dataset), shape, device)
            height, width, channels = shape
            images = image.new_empty((len(dataset), channels, height, width), device=device)
        if image.shape != shape:
            raise ValueError(
                f'ResidentImagesHook: image {i} is {tuple(image.shape)}, image 0 {shape}: resize '
                'them in the pipeline, or leave the hook out'
            )
        images[i] = image.permute(2, 0, 1)
    assert images is not None
    return images


def check_memory(count: int, shape: tuple[int, ...], device: torch.device) -> None:
    """Raise ValueError unless ``count`` images of this shape fit on the device."""
    if device.type == 'cuda':
        free = torch.cuda.mem_get_info(device)[0]
        size = count * math.prod(shape)
        if size > SHARE * free:
            raise ValueError(
                f'ResidentImagesHook: {count} images of {shape} are {size / 2**30:.1f} GiB, more '
                f'than half of the {free / 2**30:.1f} GiB that are free: leave the hook out'
            )


class ResidentLoader:
    """Batches of the images (N, C, H, W) of a data set, chosen by the sampler of its loader.

    Everything but the iteration is that loader's.
    """

    def __init__(self, loader: DataLoader, images: Tensor) -> None:
        self.loader = loader
        self.images = images

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        assert self.loader.batch_sampler is not None
        for rows in self.loader.batch_sampler:
            index = torch.tensor(rows, device=self.images.device)
            yield dict(inputs=self.images[index])

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
