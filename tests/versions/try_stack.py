"""Install a stack fresh into a virtual environment, run it, and print a row for docs/versions.md.

python tests/versions/try_stack.py python3.12 onedl,det /tmp/environment --tests
python tests/versions/try_stack.py python3.12 openmmlab /tmp/environment --with mmdet==3.3.0
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = 'mec/r18s_1xb64_50e_digits'
SHORT = ['--cfg-options', 'train_cfg.max_epochs={}', 'param_scheduler=[]', 'custom_hooks=[]']
SHORT += ['default_hooks.checkpoint.interval=1']
DETECTOR = 'benchmarks/detection/mask-rcnn_r18s_1xb8_8e_digits'
BACKBONE = 'model.backbone.init_cfg.checkpoint=run/epoch_2.pth'
PACKAGES = 'mmengine mmcv mmpretrain mmdet torch torchvision numpy'.split()
VERSIONS = """
from importlib.metadata import distributions
names = {d.metadata['Name'].lower(): d.version for d in distributions()}
for name in %r:
    for prefix in ('', 'onedl-'):
        for found in (name, name + '-lite', 'mmdetection' if name == 'mmdet' else name):
            if prefix + found in names:
                print(prefix + found, names[prefix + found], end=', ')
                break
"""


def train(epochs: int, *more: str) -> list[str]:
    options = [text.format(epochs) for text in SHORT]
    return ['train', RECIPE, '--work-dir', 'run', *more, *options]


# The steps after the installation; sub-commands of mmentropy.
STEPS = dict(
    doctor=['doctor'],
    training=train(1),
    resume=train(2, '--resume', '--resume-settings', 'config'),
    evaluation=['evaluate', 'run/epoch_2.pth', '--protocols', 'knn'],
    export=['export', 'run/epoch_2.pth', '--to', 'mmpretrain', '--out', 'backbone.pth'],
)
# With mmdet: the canvases of digits are drawn first.
DETECTION = dict(
    detector=['train', DETECTOR, '--check', '--work-dir', 'detector', '--cfg-options', BACKBONE],
)


def run(command: list, log: Path, cwd: Path = ROOT, limit: int = 1800) -> tuple[str, str]:
    """Run a command, append what it said to a log; return 'ok' or the error, and the last line."""
    done = subprocess.run(
        ['timeout', str(limit), *map(str, command)], cwd=cwd, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    with log.open('a') as file:
        file.write(f'$ {" ".join(map(str, command))}\n{said}\n')
    last = (said.strip().splitlines() or [''])[-1][:200]
    return 'ok' if done.returncode == 0 else f'FAILED ({done.returncode}): {last}', last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('python', help='an interpreter')
    parser.add_argument('extras', help='such as onedl, onedl,det or openmmlab')
    parser.add_argument('folder', type=Path, help='of the environment; one that is there is taken')
    parser.add_argument('--with', nargs='*', default=[], dest='packages', help='installed beside')
    parser.add_argument('--tests', action='store_true', help='also the fast tests')
    args = parser.parse_args()
    start = time.monotonic()
    results = {}
    python = args.folder.absolute() / 'bin' / 'python'
    log = args.folder.absolute() / 'try_stack.log'
    if not python.exists():
        subprocess.run([args.python, '-m', 'venv', args.folder], check=True)
        extras = f'{args.extras},tests' if args.tests else args.extras
        install = [python, '-m', 'pip', 'install', '--quiet', f'{ROOT}[{extras}]', *args.packages]
        results['installation'], _ = run(install, log)
    detection = 'det' in args.extras.split(',') or args.packages
    with tempfile.TemporaryDirectory() as empty:
        if detection:
            run([python, ROOT / 'tools' / 'digits_demos.py', 'coco'], log, Path(empty))
        for name, command in (STEPS | (DETECTION if detection else {})).items():
            results[name], _ = run([python, '-m', 'mmentropy', *command], log, Path(empty))
    if args.tests:
        tests = ['pytest', '-q', '-n', '0', '-m', 'not slow', '-p', 'no:cacheprovider']
        _, results['fast tests:'] = run([python, '-m', *tests], log, limit=3600)
    found = subprocess.run([python, '-c', VERSIONS % PACKAGES], capture_output=True, text=True)
    cells = ', '.join(f'{name} {result}' for name, result in results.items())
    named = subprocess.run([python, '--version'], capture_output=True, text=True).stdout.strip()
    minutes = (time.monotonic() - start) / 60
    print(f'| {named} | {found.stdout.rstrip(", ")} | {cells} | {minutes:.0f} min |')


if __name__ == '__main__':
    main()
