"""Whether weights belong to a network, asked before training begins with them."""

from mmengine.logging import print_log
from torch import nn

from mmentropy.weights.backbone import State, likely_cause, missing_prefix
from mmentropy.weights.reader import PathLike

# Below this share of common keys a checkpoint belongs to another network. A new head, or a
# backbone alone in the checkpoint, leaves all keys of the smaller side or most of them.
LEAST = 0.5


def require_fit(module: nn.Module, found: State, path: PathLike) -> None:
    """Check that a module can begin with weights that another one may have.

    A line says how many keys match if some of the module's do not, which begin at random.

    Args:
        module: The module that will be filled.
        found: The weights from ``path``.

    Raises:
        ValueError: More than half of the keys of the module, or of the weights if they are fewer,
            do not match by name and shape; the likely cause is named.
    """
    expected = module.state_dict()
    name = type(module).__name__
    if not found:
        raise ValueError(f'{path} holds no weights for {name}')
    matched = [k for k, v in found.items() if k in expected and v.shape == expected[k].shape]
    count = f'{len(matched)} of the {len(expected)} keys of {name} are in {path}'
    if len(matched) < LEAST * min(len(expected), len(found)):
        prefix = missing_prefix(expected, found)
        cause = f'prefix={prefix!r} would fit' if prefix else likely_cause(expected, found)
        raise ValueError(
            f'{count}, training would begin at random: {cause}. For a backbone alone: '
            "model.backbone.init_cfg=dict(type='PretrainedBackbone', checkpoint=...)"
        )
    if len(matched) < len(expected):
        print_log(f'{count}; the others begin as they are initialised', logger='current')
