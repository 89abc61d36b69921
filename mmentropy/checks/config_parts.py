"""Parts of a config, found wherever they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Random crops, and the argument that is the size of each.
CROPS = {
    'RandomResizedCrop': 'scale',
    'torchvision/RandomResizedCrop': 'size',
    'RandomCrop': 'crop_size',
}


def dicts_in(value: Any) -> Iterator[dict]:
    """Yield a value and all that is in it, as far as they are dicts."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from dicts_in(item)


def innermost_dataset(cfg: dict) -> dict:
    """Return the config of the data set within a loader, RepeatDataset and the like."""
    while isinstance(cfg.get('dataset'), dict):
        cfg = cfg['dataset']
    return cfg


def kind_of(cfg: Mapping) -> str:
    """Return the type of a config without its scope, be it a class or a name; '' if it has none."""
    kind = cfg.get('type', '')
    return getattr(kind, '__name__', str(kind)).split('.')[-1]


def schedulers_of(cfg: Mapping) -> list:
    """Return the configs of schedules; none where several optimisers have theirs by name."""
    found = cfg.get('param_scheduler') or ()
    if isinstance(found, dict):
        return [found] if 'type' in found else []
    return list(found)


def is_bgr(dataset: dict) -> bool:
    """Return whether a data set's pipeline gives BGR, as most loaders do, and not RGB.

    Several data sets that are put together give the same, and the views of an image do.
    """
    found, bgr = innermost_dataset(dataset), False
    if found.get('datasets'):
        return is_bgr(found['datasets'][0])
    for step in _first_steps(found.get('pipeline') or ()):
        bgr = _loads_bgr(step) or step.get('to_bgr') or (bgr and not step.get('to_rgb'))
    return bool(bgr)


def _first_steps(pipeline: Sequence) -> Iterator[dict]:
    """Yield the steps of a pipeline, of several within a step those of the first."""
    for step in pipeline:
        yield step
        inner: Sequence = step.get('transforms') or ()
        several = inner and isinstance(inner[0], (list, tuple))
        yield from _first_steps(inner[0] if several else inner)


def _loads_bgr(step: dict) -> bool:
    """Return whether a step of a pipeline loads colours as BGR."""
    kind, colours = kind_of(step), step.get('color_type', 'color')
    if kind in ('CheckedLoadImageFromFile', 'ReducedLoadImageFromFile'):
        return colours == 'color'
    # Other decoders of mmcv turn RGB around for every color_type.
    in_order = colours.startswith('grayscale') or step.get('imdecode_backend') == 'tifffile'
    return kind.endswith('LoadImageFromFile') and not in_order


def preprocessor_of(cfg: Mapping) -> dict:
    """Return the config of the data preprocessor, {} if there is none.

    That of the model comes before that at the top, as in the Runner.
    """
    model = cfg.get('model')
    own = model.get('data_preprocessor') if isinstance(model, dict) else None
    found = own or cfg.get('data_preprocessor')
    return found if isinstance(found, dict) else {}


def training_steps(cfg: Mapping) -> list[dict]:
    """Return the pipeline of the training images, then that of views made in batch."""
    training = innermost_dataset(cfg.get('train_dataloader') or {})
    in_batch = preprocessor_of(cfg).get('pipeline')
    return [*(training.get('pipeline') or ()), *(in_batch or ())]


def view_side(cfg: Mapping) -> int | None:
    """Return the side of the first random crop of the training images, None if there is none."""
    for step in dicts_in(training_steps(cfg)):
        if step.get('type') in CROPS:
            sides: Any = step[CROPS[step['type']]]
            return sides if isinstance(sides, int) else max(sides)
    return None
