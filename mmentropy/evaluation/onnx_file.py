"""Writes a backbone with its preprocessing as ONNX, and compares what a runtime makes of it."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmentropy.checks.channels import BY_COLOR_TYPE
from mmentropy.evaluation.features import pool, turns_colours
from mmentropy.evaluation.file_encoder import FileEncoder
from mmentropy.weights.exchange_files import check_place
from mmentropy.weights.huggingface_folder import image_size
from mmentropy.weights.reader import PathLike

# The lowest opset that torch's exporter writes without converting.
OPSET = 18
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
# The largest difference of features, in shares of the largest feature.
TOLERANCE = 1e-4
# How the channels of an image are ordered, by their number.
ORDERS = {1: 'gray', 3: 'RGB'}


class Encoder(nn.Module):
    """Images (N, C, H, W) float, in the units of the files, to features (N, D).

    Colours are RGB, and RGBA with alpha; a backbone that was trained on BGR is given it here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: FileEncoder) -> None:
        super().__init__()
        self.backbone = encoder.backbone
        state = vars(encoder.preprocessor)['_buffers']
        self.register_buffer('mean', state.get('mean', torch.zeros(1)))
        self.register_buffer('std', state.get('std', torch.ones(1)))
        self.bgr = encoder.bgr != turns_colours(encoder.preprocessor)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise and encode."""
        if self.bgr:
            images = reversed_colours(images, 1)
        return pool(self.backbone((images - self.mean) / self.std), self.backbone)


def reversed_colours(values: Tensor, dim: int) -> Tensor:
    """Return BGR of what is RGB, or RGB of BGR, along a dimension; alpha stays the last channel."""
    channels = values.shape[dim]
    if channels not in (3, 4):
        return values
    return values.index_select(dim, torch.tensor([2, 1, 0, 3][:channels]))


def export_onnx(
    encoder: FileEncoder, out: PathLike, source: PathLike, cfg: Config, metrics: object = None
) -> str:
    """Write a backbone as ONNX with a batch of any size, and check it by onnxruntime.

    The input ``images`` is (N, C, H, W) float32 in the units of the files, 0..255 for 8 bits,
    of the size to which the encoder brings images, and RGB; the output is ``features`` (N, D).
    The properties of the file say ``order``, ``size``, ``mean`` and ``std``, by which the network
    normalises images itself, and ``metrics``.

    Args:
        encoder: its network is in eval mode, on the CPU.
        out: an .onnx.
        source: the checkpoint.
        cfg: its config, which says the size of images that the encoder does not resize.
        metrics: to store along, as JSON.

    Returns:
        Python that runs what was written, with a comment on the images.

    Raises:
        ImportError: a package is missing that the export needs.
        ValueError: ``out`` is wrong, or the runtime gives other features; then there is no file.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(f'ONNX needs {", ".join(missing)}: pip install "mmentropy[onnx]"')
    out = Path(out)
    check_place(out, source, 'onnx', ['.onnx'])
    network = Encoder(encoder).eval().to(memory_format=torch.contiguous_format)
    shape = shape_of(encoder, cfg)
    found = properties(network, shape)
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) * 255
    partial = out.with_name(f'.{out.name}')
    try:
        torch.onnx.export(
            network,
            (images,),
            partial,
            input_names=['images'],
            output_names=['features'],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=dict(images={0: torch.export.Dim('batch')}),
            verbose=False,
        )
        check_onnx(partial, network, images)
        describe(partial, dict(found, metrics=json.dumps(metrics)))
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    session = f'onnxruntime.InferenceSession({str(out)!r})'
    images_are = f'float32 (N, {", ".join(map(str, shape))}), {found["order"]}'
    return f"{session}.run(['features'], dict(images=images))[0]  # images: {images_are}"


def properties(network: Encoder, shape: tuple[int, int, int]) -> dict[str, str]:
    """Return what a file says of the images that it takes."""
    channels, height, width = shape
    statistics = dict(mean=network.mean.flatten(), std=network.std.flatten())
    if network.bgr:
        statistics = {name: reversed_colours(values, 0) for name, values in statistics.items()}
    found = {name: json.dumps(values.tolist()) for name, values in statistics.items()}
    order = ORDERS.get(channels, 'as in the files')
    return dict(found, order=order, size=f'{height} x {width}')


def describe(path: PathLike, texts: dict[str, str]) -> None:
    """Write texts by name into the properties of an .onnx."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, path)


def shape_of(encoder: FileEncoder, cfg: Config) -> tuple[int, int, int]:
    """Return channels, height and width of the images that the backbone takes."""
    channels = BY_COLOR_TYPE.get(encoder.load.color_type) or encoder.channels
    channels = channels or Encoder(encoder).mean.numel()
    # The transforms say the size, whatever they are.
    size = (encoder.size,) * 2 if encoder.size else image_size(encoder.backbone, cfg)
    blank = np.zeros((*size, channels), np.uint8)
    results = encoder.transforms(dict(img=blank, img_shape=size))
    height, width = results['img'].shape[:2]
    return channels, height, width


@torch.inference_mode()
def check_onnx(path: PathLike, network: nn.Module, images: Tensor) -> None:
    """Raise ValueError unless onnxruntime gives the network's features, for batches of two sizes.

    Args:
        path: an .onnx.
        network: what was exported.
        images: (N, C, H, W), two or more.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    for batch in (images, images[:1]):
        expected = network(batch).numpy()
        found = session.run(['features'], dict(images=batch.numpy()))[0]
        difference = np.abs(found - expected).max() / np.abs(expected).max()
        if not difference <= TOLERANCE:
            raise ValueError(
                f'onnxruntime gives other features than torch, by {difference:.2g} of the largest'
            )
