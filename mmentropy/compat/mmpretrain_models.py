"""Names of models for ``mmpretrain.list_models``, ``get_model`` and its inferencers.

Host: mmpretrain 1.2.0 and onedl-mmpretrain 1.3.6, whose list is read from its own model index when
it is first asked for. Its inferencers take the transforms of images from ``test_dataloader``, which
a recipe of pre-training does not have. It can go when mmpretrain asks other packages for theirs.
"""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmpretrain.apis.model import ModelHub

from mmentropy.checks.config_parts import is_bgr, preprocessor_of
from mmentropy.weights.zoo import zoo, zoo_file

_register_mmpretrain_models = ModelHub._register_mmpretrain_models
_get = ModelHub.get
TO_RGB = (dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy'))
_FOLDER = Path(__file__).parent.parent / '.mim'
_registered: list[Path] = []


def install_models() -> None:
    """Let mmpretrain's list have the recipes of this package."""
    ModelHub._register_mmpretrain_models = staticmethod(register_all)  # type: ignore
    ModelHub.get = staticmethod(get)  # type: ignore[method-assign]


def register_all() -> None:
    """Read mmpretrain's index and ours, once."""
    _register_mmpretrain_models()
    if not _registered:
        _registered.append(_FOLDER)
        ModelHub.register_model_index(_FOLDER / 'model-index.yml', config_prefix=_FOLDER)


def get(model_name: str) -> Any:
    """Return what the index says of a model, with a config that says how its images are made.

    Weights that come with this package are checked.
    """
    found = _get(model_name)
    add_transforms(found.config)
    if _FOLDER in Path(found.config.filename).parents:
        # Our scores are of backbones, which have none of the tasks that ``inference_model`` knows.
        # Where there are no results, it says so, and not with tasks that are unknown to it.
        found.results = None
    if found.name in zoo():
        found.weights = str(zoo_file(found.name))
    return found


def add_transforms(cfg: Config) -> None:
    """Take the transforms of evaluation as those of an inferencer, which loads images itself."""
    test = (cfg.get('eval_datasets') or {}).get('test') or {}
    if 'test_dataloader' not in cfg and 'pipeline' in test:
        pipeline = [step for step in test['pipeline'] if 'Load' not in str(step['type'])]
        entry = preprocessor_of(cfg)
        loaded = dict(pipeline=[dict(type='LoadImageFromFile'), *pipeline])
        # Inferencers load colours as BGR, where the network may have been trained on RGB.
        if len(entry.get('mean') or ()) == 3 and is_bgr(loaded) and not is_bgr(test):
            pipeline = [*TO_RGB, *pipeline]
        cfg.test_dataloader = dict(dataset=dict(test, pipeline=pipeline))
