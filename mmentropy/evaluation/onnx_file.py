"""Writes a backbone with its preprocessing as ONNX, and compares what a runtime makes of it."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmentropy.evaluation.features import pool
from mmentropy.evaluation.file_encoder import FileEncoder
from mmentropy.weights.exchange_files import check_place
from mmentropy.weights.reader import PathLike

# The lowest opset that torch's exporter writes without converting.
OPSET = 18
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
# The largest difference of features, in shares of the largest feature.
TOLERANCE = 1e-4


class Encoder(nn.Module):
    """Images (N, C, H, W) float, in the units of the files, to features (N, D)."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: FileEncoder) -> None:
        super().__init__()
        self.backbone = encoder.backbone
        state = vars(encoder.preprocessor)['_buffers']
        self.register_buffer('mean', state.get('mean', torch.zeros(1)))
        self.register_buffer('std', state.get('std', torch.ones(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise and encode; colours are RGB, in the order of the statistics."""
        return pool(self.backbone((images - self.mean) / self.std), self.backbone)


def export_onnx(encoder: FileEncoder, out: PathLike, source: PathLike) -> str:
    """Write a backbone as ONNX with a batch of any size, and check it by onnxruntime.

    The input ``images`` is (N, C, H, W) float32 in the units of the files, 0..255 for 8 bits,
    of the size to which the encoder brings images, and RGB if the statistics of the data
    preprocessor are; the output is ``features`` (N, D).

    Args:
        encoder: its network is in eval mode, on the CPU.
        out: an .onnx.
        source: the checkpoint.

    Returns:
        Python that runs what was written.

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
    images = torch.rand(3, *shape_of(encoder), generator=torch.Generator().manual_seed(0)) * 255
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
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return f"onnxruntime.InferenceSession({str(out)!r}).run(['features'], dict(images=images))[0]"


def shape_of(encoder: FileEncoder) -> tuple[int, int, int]:
    """Return channels, height and width of the images that the backbone takes."""
    channels = dict(color=3, grayscale=1).get(encoder.load.color_type)
    channels = channels or Encoder(encoder).mean.numel()
    # The transforms say the size, whatever they are.
    side = encoder.size or 64
    blank = np.zeros((side, side, channels), np.uint8)
    results = encoder.transforms(dict(img=blank, img_shape=(side, side)))
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
