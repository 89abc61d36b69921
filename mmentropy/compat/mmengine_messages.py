"""Messages of hosts at each start that their users can do nothing about.

Host: onedl-mmengine 0.10.12, mmengine 0.10.7 and onedl-mmpretrain 1.3.6. The hooks of mmengine
make a ``FileClient``, which warns that it is deprecated, and mmpretrain prints a message for
developers where a package of its makers is absent. This can go when the hosts are silent.
"""

import logging as levels
from typing import Any

from mmengine import logging
from mmengine.fileio import file_client
from mmengine.logging import print_log


def leave_out_messages() -> None:
    """Leave out notes for developers without a logger, and all that ``FileClient`` says of itself.

    It acts on modules that are imported later.
    """

    def print_for_users(msg: Any, logger: Any = None, level: int = levels.INFO) -> None:
        if logger is not None or level >= levels.INFO:
            print_log(msg, logger, level)

    vars(logging)['print_log'] = print_for_users
    vars(file_client)['print_log'] = lambda *args, **kwargs: None
