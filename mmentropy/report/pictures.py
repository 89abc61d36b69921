"""Small pictures as data URIs: what a network is shown, undone of its normalisation."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch import Tensor, nn, uint8
from torch.utils.data import Dataset
from torchvision.transforms.functional import to_pil_image

from mmentropy.evaluation.features import collate, preprocess


class Picture(NamedTuple):
    """An image as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int

    @classmethod
    def of(cls, image: Image.Image, side: int) -> 'Picture':
        """Return a picture of an image, shrunk to ``side`` if it is larger."""
        image.thumbnail((side, side))
        stream = io.BytesIO()
        # Photographs are large as PNG, unless they are as small as a tile.
        kind = 'png' if min(image.size) <= 32 else 'jpeg'
        image.save(stream, kind, optimize=True, quality=82)
        text = base64.b64encode(stream.getvalue()).decode()
        return cls(f'data:image/{kind};base64,{text}', *image.size)


def pictures_of(
    dataset: Dataset, rows: Sequence[int], preprocessor: nn.Module, side: int = 96
) -> list[Picture]:
    """The rows of a data set as the network sees them, before normalisation."""
    inputs, samples = collate([dataset[row] for row in rows], 'eval_datasets')
    return encoded(preprocess(inputs, samples, preprocessor), preprocessor, side)


def encoded(inputs: Tensor, preprocessor: nn.Module, side: int = 96) -> list[Picture]:
    """Pictures of what a preprocessor gave (N, C, H, W), shrunk to ``side`` if they are larger.

    Normalisation is undone. Where pixels of more than 8 bits come of it, two deviations about the
    mean are shown from black to white. Of more than three channels the first three are shown, of
    two the first.
    """
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if isinstance(mean, Tensor) and isinstance(std, Tensor):
        pixels = inputs * std + mean
        inputs = pixels if pixels.max() < 256 else (inputs + 2) * 255 / 4
    shown = inputs[:, : 3 if inputs.shape[1] > 2 else 1].round().clamp(0, 255).to(uint8)
    return [Picture.of(to_pil_image(pixels), side) for pixels in shown]
