"""What mmengine runs while a network trains; importing it registers everything."""

from mmpretrain.engine.optimizers import LARS
from mmpretrain.registry import OPTIMIZERS

from mmentropy.engine import bfloat16, held_out_loop, hooks, larc, sharded_runner, train_loop

# Version 0.1.0 had a LARS of this name with the same steps and state dict.
OPTIMIZERS.register_module('ForeachLARS', module=LARS)
