"""Features of image files by a checkpoint of ours, or by a model of mmpretrain."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmpretrain.apis import get_model, list_models
from mmpretrain.registry import TRANSFORMS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, or_none, require
from mmentropy.checks.channels import FILE_LOADERS, KIND_OF_CHANNELS
from mmentropy.checks.config import nearest_name
from mmentropy.checks.config_parts import (
    innermost_dataset,
    is_bgr,
    kind_of,
    training_steps,
    view_side,
)
from mmentropy.datasets.unreadable_images import cannot_read
from mmentropy.evaluation.features import (
    backbone_features,
    input_channels,
    preprocess,
    turns_colours,
)
from mmentropy.evaluation.from_config import build_backbone, build_data_preprocessor
from mmentropy.views.loading import CheckedLoadImageFromFile
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.reader import PathLike

# Steps of a test pipeline that make the images of one size. Those of torchvision take PIL images.
RESIZING = ('CentralSquare', 'Resize', 'ResizeEdge', 'CenterCrop', 'EfficientNetCenterCrop', 'Pad')
OF_TORCHVISION = ('torchvision/Resize', 'torchvision/CenterCrop')
# Steps that are done otherwise, or that do not change what is seen.
REPLACED = (*FILE_LOADERS, 'NumpyToPIL', 'PILToNumpy', 'ToNumpy', 'PackInputs', 'PackImage')
# The long side of an image may be so many times its short side. Resized to a short side of 224 it
# then has 15 million pixels, as many as a large photo.
MOST_ELONGATED = 300


class LoadColours(CheckedLoadImageFromFile):
    """Loads RGB of 8 bits as they are in their file, and makes such an image of all others.

    In place of ``color_type='unchanged'`` this is for networks of colours, which may be given gray
    images, those with alpha or a palette, and those of 16 bits, too.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**dict(kwargs, color_type='unchanged'))
        self.in_colours = CheckedLoadImageFromFile(**dict(kwargs, color_type='color'))

    def decode(self, content: bytes) -> np.ndarray:
        # Decoders raise errors of many types; the other one tells what is wrong with the file.
        with suppress(Exception):
            img = super().decode(content)
            if img.dtype == np.uint8 and img.ndim == 3 and img.shape[2] == 3:
                return img
        return np.ascontiguousarray(self.in_colours.decode(content)[..., ::-1])


@dataclass
class FileEncoder:
    """A frozen backbone, and how it takes the image of a file.

    Args:
        backbone: in eval mode.
        preprocessor: its data preprocessor.
        load: the loader of files.
        transforms: from what it loads to pixels of one size.
        bgr: whether the preprocessor takes colours as BGR.
        size: side of the images that need no transform; None if all need them.
        channels: those that images must have; None if it is not known.
    """

    backbone: nn.Module
    preprocessor: nn.Module
    load: CheckedLoadImageFromFile
    transforms: Compose
    bgr: bool
    size: int | None
    channels: int | None = None

    def pixels(self, path: str) -> Tensor:
        """Return the pixels (C, H, W) of a file, uint8 or uint16, as the preprocessor takes them.

        Raises:
            OSError: the file cannot be read, has other channels than the network takes, or is more
                elongated than ``MOST_ELONGATED``; one line.
        """
        results = self.load.transform(dict(img_path=path))
        channels = np.atleast_3d(results['img']).shape[2]
        if self.channels not in (None, channels):
            error = OSError(f'its channels are {channels}, but the network takes {self.channels}')
            raise cannot_read(path, error) from error
        if results['img_shape'] != (self.size, self.size):
            results = self._resized(results)
        img = np.atleast_3d(results['img'])
        if img.shape[2] in (3, 4) and self.bgr != (self.load.color_type == 'color'):
            img = img[..., [2, 1, 0, 3][: img.shape[2]]]
        return torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1)))

    def _resized(self, results: dict) -> dict:
        """Return what the transforms make of a loaded image."""
        path, (height, width) = results['img_path'], results['img_shape']
        if self.transforms.transforms and max(height, width) > MOST_ELONGATED * min(height, width):
            error = OSError(
                f'its {width} x {height} pixels are more elongated than {MOST_ELONGATED} to 1'
            )
            raise cannot_read(path, error) from error
        try:
            return self.transforms(results)
        except cv2.error as error:
            raise cannot_read(path, error) from error

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """Return the features (N, D) float32 of pixels (N, C, H, W), on the CPU."""
        device = next(self.backbone.parameters()).device
        inputs = preprocess(pixels.to(device), None, self.preprocessor.to(device), self.backbone)
        # Convolutions are a third faster so, on one core of a CPU.
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return backbone_features(self.backbone, inputs).float().cpu()


def checkpoint_encoder(
    path: PathLike, cfg: Config, branch: str = 'student', size: int | None = None
) -> FileEncoder:
    """Return the encoder of a checkpoint.

    Args:
        path: checkpoint of any mmpretrain backbone.
        cfg: the config that it was trained with.
        branch: 'student' or 'teacher', the EMA target of BYOL-like models.
        size: side to which images are resized and cropped. Default: as the config evaluates, or
            else the side of its training views.

    Raises:
        FileNotFoundError, ValueError: see :mod:`mmentropy.weights.backbone`.
    """
    backbone = build_backbone(cfg)
    load_backbone(backbone, path, branch)
    return _encoder(backbone, build_data_preprocessor(cfg), cfg, size)


def named_encoder(name: str, size: int | None = None) -> FileEncoder:
    """Return the encoder of a model of mmpretrain, whose weights are downloaded.

    Raises:
        ValueError: there is no such model, or it has no backbone; one line.
        OSError: the weights cannot be downloaded.
    """
    known = list_models()
    if name not in known:
        raise ValueError(f'{name} is no file and no model of mmpretrain{nearest_name(name, known)}')
    model = get_model(name, pretrained=True)
    if not hasattr(model, 'backbone'):
        raise ValueError(f'{name} is a {type(model).__name__}, which has no backbone')
    return _encoder(model.backbone, model.data_preprocessor, model._config, size)


def _encoder(
    backbone: nn.Module, preprocessor: nn.Module, cfg: Config, size: int | None
) -> FileEncoder:
    require(or_none(COUNT), size=size)
    training = innermost_dataset(cfg.get('train_dataloader') or {})
    tested = cfg.get('test_dataloader') or {}
    testing = (cfg.get('eval_datasets') or {}).get('test') or innermost_dataset(tested)
    trained = training_steps(cfg)
    steps, left_out = _resizing_steps(testing.get('pipeline') or ())
    if left_out and not size:
        print_log(
            f'{", ".join(left_out)} of the test pipeline: left out, so that images differ from '
            'those of an evaluation where these change them',
            logger='current',
            level=logging.WARNING,
        )
    channels = input_channels(preprocessor, backbone)
    load = _loader([*trained, *(testing.get('pipeline') or ())], preprocessor, channels)
    size = size or (None if steps else view_side(cfg))
    if size:
        steps = [dict(type='CentralSquare', side=size)]
    given = training if trained else testing
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        transforms = Compose([TRANSFORMS.build(dict(step)) for step in steps])
    backbone.to(memory_format=torch.channels_last)
    backbone.eval()
    # Without a pipeline the preprocessor says what it takes.
    bgr = is_bgr(given) if given.get('pipeline') else turns_colours(preprocessor)
    known = channels if load.color_type == 'unchanged' else None
    return FileEncoder(backbone, preprocessor, load, transforms, bgr, size, known)


def _resizing_steps(pipeline: Sequence[dict]) -> tuple[list[dict], list[str]]:
    """Return the steps that make the images of one size, and the types of those left out."""
    steps, left_out = [], []
    for step in pipeline:
        kind = kind_of(step)
        if kind in OF_TORCHVISION:
            steps += [dict(type='NumpyToPIL'), step, dict(type='PILToNumpy')]
        elif kind in RESIZING:
            steps.append(step)
        elif kind not in REPLACED:
            left_out.append(kind)
    return steps, left_out


def _loader(
    steps: Sequence[dict], preprocessor: nn.Module, channels: int | None
) -> CheckedLoadImageFromFile:
    """Return the loader of the first of these steps that is one, or else that of the channels."""
    for step in steps:
        if kind_of(step) in FILE_LOADERS:
            names = ('imdecode_backend', 'backend_args', 'color_type')
            given = {k: step[k] for k in names if step.get(k)}
            # mmcv's loader leaves the bands to this decoder, whatever its color_type.
            if given.get('imdecode_backend') == 'tifffile':
                given = dict(given, imdecode_backend='cv2', color_type='unchanged')
            colours = given.get('color_type') == 'unchanged' and _of_8_bit_colours(preprocessor)
            return LoadColours(**given) if colours else CheckedLoadImageFromFile(**given)
    channels = channels or len(getattr(preprocessor, 'mean', ())) or 3
    return CheckedLoadImageFromFile(color_type=KIND_OF_CHANNELS.get(channels, 'unchanged'))


def _of_8_bit_colours(preprocessor: nn.Module) -> bool:
    """Return whether mean and deviation are of three channels, and can be of 8 bits."""
    mean, std = (getattr(preprocessor, name, torch.empty(0)) for name in ('mean', 'std'))
    return len(mean) == 3 and bool((mean <= 255).all() and (std <= 255 / 2).all())
