"""What the package says when something is missing or there twice."""

import subprocess
import sys

import pytest

from mmentropy.compat import installed_stack as stack


def test_two_owners(monkeypatch):
    versions = {'mmengine': '0.10.7', 'onedl-mmengine': '0.10.12'}

    def version(name):
        if name in versions:
            return versions[name]
        raise stack.PackageNotFoundError(name)

    monkeypatch.setattr(stack, 'version', version)
    with pytest.raises(ImportError) as raised:
        stack.check_stack()
    message = str(raised.value)
    assert message.startswith('onedl-mmengine 0.10.12 and mmengine 0.10.7 ')
    assert 'pip uninstall -y onedl-mmengine mmengine,' in message
    assert '\n' not in message


@pytest.mark.parametrize('package', ['mmengine', 'mmcv', 'mmpretrain'])
def test_missing_package(package):
    """A real import, in a process that cannot find the package."""
    code = f"""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = (
    lambda name, *args: None if name == '{package}' else found(name, *args))
import mmentropy
"""
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"ImportError: mmentropy needs {package}, which is not installed: pip install -e '.[onedl]'"
    )


def test_this_environment_is_sound():
    stack.check_stack()
    assert stack.owners_of('mmengine')
