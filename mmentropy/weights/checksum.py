"""The check that a checkpoint is as it was written.

torch writes checkpoints as zip files, in which every member carries the CRC-32 of its content;
torch itself does not look at it. Any other damage of such a file changes nothing that is read, or
makes torch fail, with one exception: torch reads nothing from a member that is marked as a folder.
"""

import os
import zipfile

from mmentropy.checks.files import size_of
from mmentropy.weights.declared_sizes import is_all_directory

# The bit among the attributes of a member that marks it as a folder; PKWARE's
# APPNOTE 6.3.10, section 4.4.15, and the list of attributes of MS-DOS.
_FOLDER = 0x10


def check_file(path: str | os.PathLike) -> None:
    """Check that there is a file, and its checksums if it carries any.

    Files of torch before 1.6 carry none, and neither do those written after
    ``torch.serialization.set_crc32_options(False)``.

    Raises:
        FileNotFoundError, IsADirectoryError, OSError: there is no such file.
        ValueError: the content of the file does not fit its checksums.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f'{path} is a directory, not a checkpoint')
    if not os.path.exists(path):
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    size = size_of(path)
    try:
        with open(path, 'rb') as stream:
            # The reader refuses parts without end, too.
            if not zipfile.is_zipfile(stream) or is_all_directory(stream):
                return
            file = zipfile.ZipFile(stream)
            members = file.infolist()
            damaged = next((m.filename for m in members if m.external_attr & _FOLDER), None)
            # The reader refuses parts that are larger than the file; they would take long here.
            whole = sum(m.file_size for m in members) <= size
            if not damaged and whole and any(m.CRC for m in members):
                damaged = file.testzip()
    except PermissionError:
        raise
    # A damaged file can fail at any place of the reader.
    except Exception as error:
        raise ValueError(f'{path} is damaged: its parts cannot be found ({error})') from error
    if damaged:
        raise ValueError(f'{path} is damaged: its part {damaged} is not what was written')
