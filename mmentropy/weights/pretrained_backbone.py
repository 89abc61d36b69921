"""The initialiser that fills a backbone of any OpenMMLab config from a checkpoint."""

from mmengine.model import BaseModule, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS

from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.reader import PathLike
from mmentropy.weights.zoo import checkpoint_file


# It is registered in mmengine's root registry, so that every OpenMMLab scope finds it.
@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Initialise the backbone of any OpenMMLab config from a checkpoint.

    ``backbone=dict(..., init_cfg=dict(type='PretrainedBackbone', checkpoint='epoch_100.pth'))``; in
    a list of initialisers it comes last.
    ``checkpoint='zoo://NAME'`` takes weights that come with the package, see :mod:`.zoo`.
    Unlike mmengine's 'Pretrained' it refuses a checkpoint that does not fit: when the weights are
    initialised it raises the errors of :func:`mmentropy.weights.backbone.load_backbone`, which
    explains the arguments, and a ValueError if no checkpoint is named.
    """

    def __init__(
        self, checkpoint: PathLike | None = None, branch: str = 'student', min_match: float = 0.95
    ) -> None:
        self.checkpoint = checkpoint
        self.branch = branch
        self.min_match = min_match

    def __call__(self, module: BaseModule) -> None:
        """Load the weights and call off what mmengine and the module would do next."""
        if not self.checkpoint:
            raise ValueError(
                f'PretrainedBackbone of {type(module).__name__} has no checkpoint: '
                'add --cfg-options model.backbone.init_cfg.checkpoint=PATH'
            )
        self.checkpoint = checkpoint_file(self.checkpoint)
        # mmengine initialises the submodules after this call. Do it now, for keys that the
        # checkpoint lacks, and keep it from doing it again.
        for child in module.children():
            if hasattr(child, 'init_weights'):
                if not getattr(child, 'is_init', False):
                    child.init_weights()
                child.is_init = True
        self.load(module, self.checkpoint)
        # The type 'Pretrained' tells backbones that their weights are not to be touched: otherwise
        # ResNet sets the last gammas to 0, and ViTs start over.
        module.init_cfg = dict(type='Pretrained', checkpoint=str(self.checkpoint))
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'PretrainedBackbone: {self.checkpoint}')

    def load(self, module: BaseModule, path: PathLike) -> None:
        """Load the weights from a file."""
        load_backbone(module, path, self.branch, self.min_match)
