"""What must be installed, and what must not be installed twice."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# The maintained forks and upstream install into the same directories, which
# pip does not see: the later one overwrites parts of the earlier.
OWNERS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}
REQUIRED = ('mmengine', 'mmcv', 'mmpretrain')


def owners_of(package: str) -> list[str]:
    """Installed distributions that own an OpenMMLab package."""
    found = []
    for name in OWNERS[package]:
        try:
            found.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            continue
    return found


def check_stack() -> None:
    """Raise ``ImportError`` unless each package is there, and once."""
    for package in OWNERS:
        found = owners_of(package)
        if len(found) > 1:
            names = ' '.join(owner.split()[0] for owner in found)
            raise ImportError(
                f'{" and ".join(found)} both own the package {package} and '
                f'overwrite each other: pip uninstall -y {names}, then '
                "install one again: pip install -e '.[onedl]'"
            )
    for package in REQUIRED:
        if find_spec(package) is None:
            raise ImportError(
                f'mmentropy needs {package}, which is not installed: '
                "pip install -e '.[onedl]', or '.[openmmlab]' for upstream"
            )
