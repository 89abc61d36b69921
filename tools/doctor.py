"""Say in one screen whether the installed packages fit each other.

The exit status is 1 if something is broken. Every line that is not ok ends with the command that
mends it.
"""

import importlib.util
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from cli import Parser

ROOT = Path(__file__).resolve().parent.parent
# In an installed package tools are in mmentropy/.mim/tools.
PACKAGE = ROOT.parent if ROOT.name == '.mim' else ROOT / 'mmentropy'
# Pythons that the package runs on.
OLDEST, NEWEST = (3, 10), (3, 13)


class Finding(NamedTuple):
    """One line of the report."""

    state: str  # ok, note or BROKEN
    name: str
    text: str
    mend: str = ''


def load_stack() -> ModuleType:
    """Return ``mmentropy.compat.installed_stack``, also where mmentropy does not import."""
    path = PACKAGE / 'compat' / 'installed_stack.py'
    spec = importlib.util.spec_from_file_location('installed_stack', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def installed(distribution: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def release(text: str) -> tuple[int, ...]:
    """Return (2, 14, 1) for '2.14.1+cu130'."""
    parts = text.split('+')[0].split('.')
    return tuple(int(part) for part in parts if part.isdigit())


def upstream() -> bool:
    """Return whether the packages of OpenMMLab are upstream's, and not the forks."""
    return any(map(installed, ('mmengine', 'mmengine-lite', 'mmcv', 'mmcv-lite', 'mmpretrain')))


def install() -> str:
    """Return the command that completes the stack that is there."""
    return "pip install -e '.[openmmlab]'" if upstream() else "pip install -e '.[onedl]'"


def run(code: str) -> tuple[bool, str]:
    """Run Python in a process of its own; return whether it worked, and its last line."""
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    lines = done.stdout if done.returncode == 0 else done.stderr
    return done.returncode == 0, (lines.strip().splitlines() or [''])[-1]


def check_python() -> Finding:
    text = '.'.join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST:
        text = f'{text}, needs 3.10 or newer'
        return Finding('BROKEN', 'python', text, 'make an environment of another Python')
    if sys.version_info[:2] <= NEWEST:
        return Finding('ok', 'python', f'{text}, {sys.executable}')
    return Finding('note', 'python', f'{text}; tested on 3.10 to 3.13', 'use another Python')


def check_torch() -> list[Finding]:
    torch, vision = installed('torch'), installed('torchvision')
    if torch is None or release(torch) < (2, 4):
        return [
            Finding(
                'BROKEN',
                'torch',
                f'{torch or "not installed"}, needs 2.4 or newer',
                'pip install -U torch torchvision',
            )
        ]
    works, line = run(
        'import torch\n'
        'n = torch.cuda.device_count()\n'
        'print(f"{torch.__version__}, built for CUDA {torch.version.cuda}, " '
        'f"{n} GPUs" + (f" ({torch.cuda.get_device_name(0)})" if n else ""))'
    )
    findings = [Finding('ok' if works else 'BROKEN', 'torch', line)]
    # torchvision's operators are compiled for one torch.
    works, line = run(
        'import torch, torchvision\n'
        'boxes = torch.tensor([[0., 0, 2, 2], [0, 0, 2, 2]])\n'
        'assert len(torchvision.ops.nms(boxes, torch.rand(2), .5)) == 1\n'
        'print(torchvision.__version__, "fits torch")'
    )
    findings.append(
        Finding('ok', 'torchvision', line)
        if works
        else Finding(
            'BROKEN',
            'torchvision',
            f'{vision or "not installed"}: {line}',
            'pip install -U --force-reinstall torch torchvision',
        )
    )
    return findings


# The use of each optional package, and the extra that installs it.
USES = dict(mmdet=('detection', 'det'), mmseg=('segmentation', 'seg'))


def imports(packages: list[str]) -> dict[str, tuple[bool, str]]:
    """Return whether each package imports, and its last line: by one process if all do."""
    if run(f'import {", ".join(packages)}')[0]:
        return dict.fromkeys(packages, (True, ''))
    return {package: run(f'import {package}') for package in packages}


def check_owners(stack: ModuleType) -> list[Finding]:
    findings = []
    owners_of = {package: stack.owners_of(package) for package in stack.OWNERS}
    imported = imports([package for package, owners in owners_of.items() if len(owners) == 1])
    for package, owners in owners_of.items():
        text = ' and '.join(owners) or 'not installed'
        if len(owners) > 1:
            names = ' '.join(owner.split()[0] for owner in owners)
            findings.append(
                Finding(
                    'BROKEN',
                    package,
                    f'{text} overwrite each other in one directory',
                    f'pip uninstall -y {names}; {install()}',
                )
            )
        elif owners:
            works, line = imported[package]
            again = f'pip install --force-reinstall {owners[0].split()[0]}'
            findings.append(
                Finding('ok', package, text)
                if works
                else Finding('BROKEN', package, f'{text}: {line}', again)
            )
        elif package in stack.REQUIRED:
            findings.append(Finding('BROKEN', package, text, install()))
        else:
            use, extra = USES[package]
            findings.append(
                Finding(
                    'note',
                    package,
                    f'{text}; needed for {use}',
                    f'pip install {stack.OWNERS[package][1]}'
                    if upstream()
                    else f"pip install -e '.[onedl,{extra}]'",
                )
            )
    return findings


def check_ops() -> Finding:
    """Say whether mmcv's compiled operators load, or ours serve."""
    spec = importlib.util.find_spec('mmcv')
    if spec is None or spec.origin is None:
        return Finding('note', 'mmcv ops', 'mmcv is not installed')
    # A compiled module comes before the stand-in, also if it does not load.
    if any(Path(spec.origin).parent.glob('_ext*.so')):
        works, line = run('import mmcv._ext')
        return (
            Finding('ok', 'mmcv ops', 'compiled')
            if works
            else Finding(
                'BROKEN',
                'mmcv ops',
                f'compiled for another torch: {line}',
                'reinstall mmcv; without its ops mmentropy.compat.mmcv_ops serves',
            )
        )
    works, line = run(
        'import mmentropy, mmcv.ops\nprint("none compiled, mmentropy.compat.mmcv_ops serves")'
    )
    return Finding('ok' if works else 'BROKEN', 'mmcv ops', line, '' if works else install())


def check_clashes() -> list[Finding]:
    """Find versions that are known not to fit each other."""
    return [*check_mmengine(), *check_transformers(), *check_opencv(), check_numpy()]


def check_mmengine() -> list[Finding]:
    """Find packages that are too new for mmengine."""
    findings = []
    engine = installed('mmengine') or installed('mmengine-lite')
    setuptools = installed('setuptools')
    if engine and (not setuptools or release(setuptools) >= (81,)):
        findings.append(
            Finding(
                'BROKEN',
                'setuptools',
                f'{setuptools or "not installed"}: mmengine {engine} imports pkg_resources, which '
                '81 removed',
                "pip install 'setuptools<81'",
            )
        )
    if engine:
        findings.append(
            Finding(
                'note',
                'resume',
                f'mmengine {engine}: runs that count iterations, not epochs, do not --resume bit '
                'for bit',
                "pip install -e '.[onedl]' in an environment of its own",
            )
        )
    return findings


def check_transformers() -> list[Finding]:
    """Find a transformers that is too new for mmpretrain."""
    transformers = installed('transformers')
    if not transformers or release(transformers) < (5,):
        return []
    text = f'{transformers}: mmpretrain does not import with it'
    return [Finding('BROKEN', 'transformers', text, 'pip uninstall -y transformers')]


def check_opencv() -> list[Finding]:
    """Find two builds of OpenCV in one directory."""
    full, headless = installed('opencv-python'), installed('opencv-python-headless')
    if not full or not headless:
        return []
    text = f'opencv-python {full} and -headless {headless} share a directory'
    if full == headless:
        return [Finding('ok', 'opencv', text)]
    mend = (
        'pip uninstall -y opencv-python-headless; '
        'pip install --force-reinstall --no-deps opencv-python'
    )
    return [Finding('note', 'opencv', text, mend)]


def check_numpy() -> Finding:
    """Try whether numpy, torch and OpenCV were built for each other."""
    works, line = run(
        'import numpy, cv2, torch\n'
        'torch.from_numpy(numpy.zeros(1)).numpy()\n'
        'print(numpy.__version__, "fits torch and cv2", cv2.__version__)'
    )
    if works:
        return Finding('ok', 'numpy', line)
    return Finding('BROKEN', 'numpy', line, 'pip install -U numpy opencv-python')


def check_mmentropy() -> Finding:
    works, line = run(
        'import mmentropy\n'
        'from mmpretrain.registry import MODELS\n'
        'assert MODELS.get("MEC")\n'
        'print(mmentropy.__version__, mmentropy.__path__[0])'
    )
    return Finding('ok' if works else 'BROKEN', 'mmentropy', line, '' if works else install())


def main() -> None:
    findings = [
        check_python(),
        *check_torch(),
        *check_owners(load_stack()),
        check_ops(),
        *check_clashes(),
        check_mmentropy(),
    ]
    for finding in findings:
        print(f'{finding.state:7}{finding.name:12}{finding.text}')
        if finding.mend:
            print(f'{"":19}-> {finding.mend}')
    broken = [f.name for f in findings if f.state == 'BROKEN']
    print('\nbroken: ' + ', '.join(broken) if broken else '\nall is well')
    sys.exit(bool(broken))


if __name__ == '__main__':
    Parser(description=__doc__).parse_args()
    main()
