"""The settings of a run on a folder of images, for this machine."""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch

from mmentropy.pretraining.photos import Photos
from mmentropy.pretraining.rules import choose_batch, choose_held_out, choose_side


class Machine(NamedTuple):
    """What a run may use: cores, whether there is a GPU, and whether bfloat16 is fast."""

    cores: int
    gpu: bool
    bfloat16: bool


@dataclass
class Settings:
    """What was chosen. ``epochs`` is None until the time of a step is known."""

    method: str
    backbone: str
    side: int
    batch: int
    workers: int
    bfloat16: bool
    epochs: int | None
    held_out: list[str]


def this_machine() -> Machine:
    """Return what this process may use."""
    gpu = torch.cuda.is_available()
    flags = Path('/proc/cpuinfo')
    fast = flags.exists() and 'avx512_bf16' in flags.read_text()
    if gpu:
        # Older ones emulate it.
        fast = torch.cuda.get_device_capability() >= (8, 0)
    return Machine(len(os.sched_getaffinity(0)), gpu, fast)


def choose(
    photos: Photos, machine: Machine, method: str, backbone: str | None, epochs: int | None
) -> Settings:
    """Return all settings, by the rules of :mod:`mmentropy.pretraining.rules` and two of its own.

    The backbone is 'resnet18', or 'resnet18s', a narrow one of three stages, without a GPU. On a
    GPU there are up to eight loader processes; without one there is one for each core but one.
    """
    held_out = choose_held_out(photos.files, photos.classes, photos.readable)
    gpu = machine.gpu
    return Settings(
        method=method,
        backbone=backbone or ('resnet18' if gpu else 'resnet18s'),
        side=choose_side(photos.side, gpu),
        batch=choose_batch(len(photos.files) - len(held_out), gpu),
        workers=min(8, machine.cores - 1),
        bfloat16=machine.bfloat16,
        epochs=epochs,
        held_out=held_out,
    )


def steps_of(photos: Photos, chosen: Settings) -> int:
    """Return how many steps a run takes; one whose epochs are not chosen yet has one."""
    images = len(photos.files) - len(chosen.held_out)
    return (chosen.epochs or 1) * (images // chosen.batch)


def plan(photos: Photos, chosen: Settings, seconds: float) -> list[str]:
    """Return what was found and chosen, in lines."""
    least, most = photos.sides
    steps = steps_of(photos, chosen)
    held = f'{len(chosen.held_out):,} of them held out for kNN' if chosen.held_out else 'no kNN'
    classes = f'{len(photos.classes)} class folders' if photos.classes else 'no class folders'
    kind = f'{len(photos.mean)} channels of {photos.depth}'
    time = timedelta(seconds=round(seconds * steps))
    return [
        f'images: {len(photos.files):,}, sides of {least} to {most} pixels, '
        f'loaded as {kind}, {classes}, {held}',
        *([f'not read: {photos.others}'] if photos.others else []),
        f'network: {chosen.method} with {chosen.backbone}, views of {chosen.side} x {chosen.side}',
        f'training: {chosen.epochs} epochs = {steps:,} steps of batch {chosen.batch}, '
        f'{"bfloat16" if chosen.bfloat16 else "float32"}, {chosen.workers} loader processes',
        f'time: {seconds:.3g} s a step, about {time} without measuring',
    ]
