"""What ``mmengine.hub.get_model`` asks a package for."""

import time

from mmengine.registry import DefaultScope


def register_all_modules(init_default_scope: bool = True) -> None:
    """Let types be built, all of which importing mmentropy has registered.

    Args:
        init_default_scope: Whether to look for them in mmpretrain's registries from now on.
    """
    if init_default_scope:
        DefaultScope.get_instance(f'mmentropy-{time.monotonic_ns()}', scope_name='mmpretrain')
