"""Small pictures as data URIs: what a network is shown, undone of its normalisation."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmentropy.evaluation.features import collate, preprocess

# Sides of pictures in pixels, at most.
TILE, PICTURE = 32, 96


@dataclass
class Picture:
    """An image as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def pictures_of(dataset: Dataset, rows: Sequence[int], preprocessor: nn.Module) -> list[Picture]:
    """The rows of a data set as the network sees them, before normalisation."""
    return [encoded(thumbnail(x, PICTURE)) for x in shown_pixels(dataset, rows, preprocessor)]


def shown_pixels(dataset: Dataset, rows: Sequence[int], preprocessor: nn.Module) -> np.ndarray:
    """Images (N, H, W, C) uint8 as the network sees them, before normalisation."""
    inputs, samples = collate([dataset[row] for row in rows], 'eval_datasets')
    return unnormalised(preprocess(inputs, samples, preprocessor), preprocessor)


def unnormalised(inputs: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """Pixels (N, H, W, C) uint8 of the inputs (N, C, H, W) that a preprocessor gave."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if isinstance(mean, Tensor) and isinstance(std, Tensor):
        inputs = inputs * std + mean
    return inputs.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def thumbnail(pixels: np.ndarray, side: int) -> Image.Image:
    """Pixels (H, W, C) of 1 or 3 channels, shrunk to ``side`` if they are larger."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    image.thumbnail((side, side))
    return image


def encoded(image: Image.Image, lossless: bool | None = None) -> Picture:
    """Encode as PNG if ``lossless``, else as JPEG; by default PNG where the image is small."""
    if lossless is None:
        lossless = min(image.size) <= TILE
    stream = io.BytesIO()
    if lossless:
        image.save(stream, 'png', optimize=True)
    else:
        image.save(stream, 'jpeg', quality=82)
    text = base64.b64encode(stream.getvalue()).decode()
    return Picture(f'data:image/{"png" if lossless else "jpeg"};base64,{text}', *image.size)


def sheet_of(tiles: Sequence[Image.Image], columns: int) -> Picture:
    """All tiles in one picture, row by row."""
    width = max(tile.width for tile in tiles)
    height = max(tile.height for tile in tiles)
    sheet = Image.new(tiles[0].mode, (columns * width, -(-len(tiles) // columns) * height))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * width, i // columns * height))
    # Photographs in colour are large as PNG.
    return encoded(sheet, lossless=sheet.mode == 'L')
