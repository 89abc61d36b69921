"""What needs a CUDA card: tests, benchmarks and a training, in calls of at most ten minutes.

python benchmarks/gpu/check.py --work gpu --wheels wheels --images cifar10.zip
python benchmarks/gpu/check.py --work smoke --smoke    # tiny and on a CPU, without both

The machine needs Python and torch, but no network. The call goes on where the one before it ended:
what WORK/results.json has is not done again. It leaves with status 75 while there is more to do,
with 1 if something failed, and with 0 when all is done. What a step printed is in WORK/STEP.log.

WHEELS are made on a machine with a network, of the same Python and platform, where 2.9.1 stands
for the version of torch on the machine with the card, which keeps its own torch:

    python -m pip wheel --wheel-dir wheels torch==2.9.1 pytest \
        -r requirements/runtime.txt -r requirements/onedl.txt
    rm -f wheels/torch-* wheels/nvidia_* wheels/cuda_* wheels/triton-*

IMAGES is a zip of CIFAR-10 with files train/CLASS/NAME and test/CLASS/NAME, as PNG, which a
published number needs, or JPEG.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

from cli import Parser, commit  # noqa: E402

# EX_TEMPFAIL of sysexits.h asks to try again. Trainings that save on SIGTERM leave with it, too.
UNFINISHED_STATUS = 75
# The training ends when the kNN accuracy, in percent, has reached this.
TARGET = 90.0
# Seconds before the end of a call at which the training is told to save and leave.
SAVING = 60.0
RECIPE = 'benchmarks/gpu/mec_cifar10.py'
PROBE = """
import torch
print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU')
print(torch.__version__)
"""
# Scripts of benchmarks/speed with their arguments, by the names of steps.
BENCHMARKS = {
    'losses': 'losses.py --device cuda --rounds 20',
    'views': 'views.py --device cuda',
    'step_r18s': 'step.py --network r18s --batch 512 --rounds 20',
    'step_r18': 'step.py --network r18 --batch 512 --rounds 20',
}
SMOKE_BENCHMARKS = {'views': 'views.py --data digits --batch-size 4 --rounds 1'}
SMOKE_TRAINING = (
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=16',
    'custom_hooks.0.num_workers=0',
    'model.backbone.stem_channels=8',
    'model.backbone.base_channels=8',
    'model.neck.in_channels=64',
)


class OutOfTime(Exception):
    """The call is over before a step was."""


class Failed(Exception):
    """A step ended with an error, in one line."""


@dataclass(frozen=True)
class Call:
    """Where a call works, with what, and until when on the clock of ``time.monotonic``."""

    work: Path
    wheels: Path | None
    images: Path
    smoke: bool
    deadline: float

    def left(self) -> float:
        """Seconds until the call is over."""
        return self.deadline - time.monotonic()


class Results:
    """The records of the steps in results.json, each with where and when it was made."""

    def __init__(self, path: Path, stamp: dict[str, str]) -> None:
        self.path = path
        self.stamp = stamp
        self.records: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, name: str, record: dict) -> None:
        """Write a record; the file is the old or the new one, whatever happens."""
        date = datetime.now(timezone.utc).isoformat(timespec='seconds')
        self.records[name] = dict(self.stamp, date=date) | record
        part = self.path.with_suffix('.part')
        part.write_text(json.dumps(self.records, indent=1) + '\n')
        part.replace(self.path)

    def has(self, name: str) -> bool:
        """Whether a step is done; a training that goes on is not."""
        return name in self.records and not self.records[name].get('goes_on')


def start(command: list[str], log: Path, mode: str = 'w') -> subprocess.Popen:
    """Start Python with these arguments, its output in a log."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    with log.open(mode) as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def last_line(log: Path) -> str:
    """The line of a log with the error."""
    lines = log.read_text().split('\n')
    return f'{log}: {next((line for line in reversed(lines) if line.strip()), "no output")}'


def run(call: Call, name: str, *command: str, good: tuple[int, ...] = (0,)) -> str:
    """Run Python with these arguments and return what it printed.

    Raises:
        OutOfTime: The call is over; the process was killed.
        Failed: It left with a status that is not good.
    """
    log = call.work / f'{name}.log'
    process = start([*command], log)
    try:
        status = process.wait(max(call.left(), 0))
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    finally:
        process.kill()
        process.wait()
    if status not in good:
        raise Failed(last_line(log))
    return log.read_text()


def install(call: Call) -> dict:
    """Install the wheels beside the torch that is there."""
    needed = [part for name in ('runtime', 'onedl') for part in ('-r', f'requirements/{name}.txt')]
    source = ('--no-index', '--find-links', str(call.wheels))
    run(call, 'install', '-m', 'pip', 'install', *source, *needed, 'pytest')
    return dict(wheels=len([*call.wheels.glob('*.whl')]))


def unpack(call: Call) -> dict:
    """Unpack the images, and count them."""
    folder = call.work / 'images'
    try:
        with ZipFile(call.images) as file:
            file.extractall(folder)
    except (OSError, BadZipFile) as error:
        raise Failed(f'{call.images}: {error}') from error
    counts = {split: len([*folder.glob(f'{split}/*/*.*')]) for split in ('train', 'test')}
    if not all(counts.values()):
        raise Failed(f'{call.images} has no files train/CLASS/NAME and test/CLASS/NAME')
    return counts


def run_tests(call: Call) -> dict:
    """Run the tests that need a card; without one they are skipped."""
    path = call.work / 'tests.xml'
    run(call, 'tests', '-m', 'pytest', '-q', 'tests/gpu', f'--junitxml={path}', good=(0, 1))
    cases = {
        str(case.get('name')): outcome(case) for case in ElementTree.parse(path).iter('testcase')
    }
    return dict(cases=cases)


def outcome(case: ElementTree.Element) -> str:
    """How a test ended, with the reason if it did not pass."""
    for found in case:
        if found.tag in ('failure', 'error', 'skipped'):
            return f'{found.tag}: {(found.get("message") or "").splitlines()[0]}'
    return 'passed'


def benchmark(call: Call, name: str, command: str) -> dict:
    """Run a benchmark, and read the tables that it prints."""
    script, *arguments = command.split()
    printed = run(call, name, f'benchmarks/speed/{script}', *arguments)
    return dict(command=command, rows=table_rows(printed))


def table_rows(text: str) -> list[list[str]]:
    """The cells of all Markdown tables in a text by row, heads included."""
    lines = [line for line in text.splitlines() if line.startswith('|') and set(line) != set('|-')]
    return [[cell.strip() for cell in line[1:-1].split('|')] for line in lines]


def train(call: Call, results: Results) -> dict:
    """Go on with the training until it is over, has reached the target, or the call ends.

    The curve has seconds of training, start and kNN included, over all calls.
    """
    before = results.records.get('cifar10', {})
    if call.left() < 2 * SAVING:
        raise OutOfTime
    begin = time.monotonic() - before.get('seconds', 0.0)
    record = dict(recipe=RECIPE, goes_on=True, curve=before.get('curve', []))
    process = start(training(call), call.work / 'cifar10.log', 'a')
    told = False
    try:
        while process.poll() is None and call.left() > 0:
            time.sleep(1)
            record |= progress(call, record['curve'], time.monotonic() - begin)
            results.keep('cifar10', record)
            if not told and (reached(record['curve']) or call.left() < SAVING):
                process.terminate()
                told = True
    finally:
        leave(process, 0 if told else SAVING / 2)
    record |= progress(call, record['curve'], time.monotonic() - begin)
    if process.returncode == 0 or reached(record['curve']):
        return record | dict(goes_on=False, reached=reached(record['curve']))
    results.keep('cifar10', record)
    if told:
        raise OutOfTime
    raise Failed(last_line(call.work / 'cifar10.log'))


def training(call: Call) -> list[str]:
    """The command that begins the training, or goes on with it."""
    roots = {
        'train_dataloader.dataset': 'train',
        'eval_datasets.train': 'train',
        'eval_datasets.test': 'test',
    }
    changes = [f'{name}.data_root={call.work}/images/{split}' for name, split in roots.items()]
    if call.smoke:
        changes += SMOKE_TRAINING
    folder = str(call.work / 'cifar10')
    command = ['tools/train.py', RECIPE, '--work-dir', folder, '--resume', '--seed', '0']
    return [*command, '--cfg-options', *changes]


def leave(process: subprocess.Popen, seconds: float) -> None:
    """Give a training that still runs some seconds to save, and end it."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def progress(call: Call, curve: list[dict], seconds: float) -> dict:
    """The curve with the kNN accuracies, in percent, that were logged since, and the seconds."""
    files = sorted((call.work / 'cifar10').glob('*/vis_data/scalars.json'))
    # The last line may not be whole yet.
    lines = [line for path in files for line in path.read_text().split('\n')[:-1]]
    logged = {
        found['step']: found['knn/top1'] for found in map(json.loads, lines) if 'knn/top1' in found
    }
    known = {point['epoch'] for point in curve}
    new = [
        dict(epoch=epoch, seconds=round(seconds), knn=round(knn, 2))
        for epoch, knn in sorted(logged.items())
        if epoch not in known
    ]
    return dict(curve=[*curve, *new], seconds=round(seconds))


def reached(curve: list[dict]) -> bool:
    """Whether the training has reached the target."""
    return any(point['knn'] >= TARGET for point in curve)


def steps(call: Call, results: Results) -> dict[str, Callable[[], dict]]:
    """What is done, in this order."""
    found: dict[str, Callable[[], dict]] = {}
    if call.wheels:
        found['install'] = partial(install, call)
    found |= dict(images=partial(unpack, call), tests=partial(run_tests, call))
    commands = SMOKE_BENCHMARKS if call.smoke else BENCHMARKS
    for name, command in commands.items():
        found[name] = partial(benchmark, call, name, command)
    found['cifar10'] = partial(train, call, results)
    return found


def go_on(call: Call, results: Results) -> int:
    """Do what is not done yet; return the status to leave with."""
    whole = call.left()
    for name, step in steps(call, results).items():
        if results.has(name):
            continue
        print(f'{name}: {call.left():.0f} s are left', flush=True)
        before = call.left()
        begin = time.monotonic()
        try:
            record = step()
        except OutOfTime:
            if name == 'cifar10' or before < whole / 2:
                print('the same command goes on')
                return UNFINISHED_STATUS
            # The next call would give it no more.
            record = dict(error=f'not done in {before:.0f} s')
        except Failed as error:
            # Nothing goes on without packages and images, and the training goes on from its
            # checkpoint once the reason is mended.
            if name in ('install', 'images', 'cifar10'):
                raise
            record = dict(error=str(error))
        results.keep(name, dict(seconds=round(time.monotonic() - begin, 1)) | record)
    return report(results)


def report(results: Results) -> int:
    """Print what failed; return the status to leave with."""
    failed = [f'{name}: {r["error"]}' for name, r in results.records.items() if 'error' in r]
    cases = results.records['tests'].get('cases', {})
    failed += [f'{name}: {how}' for name, how in cases.items() if how.startswith(('fail', 'err'))]
    print('\n'.join([*failed, f'all is done, {len(failed)} failed: {results.path}']))
    return int(bool(failed))


def probe() -> dict[str, str]:
    """Commit, device and version of torch."""
    found = subprocess.run([sys.executable, '-c', PROBE], capture_output=True, text=True)
    if found.returncode:
        raise Failed(f'torch cannot be used: {found.stderr.strip().splitlines()[-1]}')
    device, version = found.stdout.split('\n')[:2]
    return dict(commit=commit() or 'not a git clone', device=device, torch=version)


def few_images(path: Path) -> None:
    """Write a zip of a few JPEGs, as IMAGES is."""
    sys.path.insert(0, str(ROOT / 'experiments'))
    from run import tiny_images

    with tempfile.TemporaryDirectory() as folder, ZipFile(path, 'w') as file:
        tiny_images(Path(folder))
        for image in sorted(Path(folder).rglob('*.jpg')):
            file.write(image, image.relative_to(folder))


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('--work', type=Path, required=True, help='folder for all that is written')
    parser.add_argument('--wheels', type=Path, help='folder of wheels; default: none is installed')
    parser.add_argument('--images', type=Path, help='zip of CIFAR-10 in class folders')
    parser.add_argument('--minutes', type=float, default=9.5, help='length of this call')
    parser.add_argument('--smoke', action='store_true', help='all of it tiny, also on a CPU')
    args = parser.parse_args()
    if not args.smoke and args.images is None:
        parser.error('--images is needed without --smoke')
    if args.wheels and not args.wheels.is_dir():
        parser.error(f'--wheels: no folder {args.wheels}')
    return args


def main() -> Any:
    args = parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    # SIGTERM, too, is a KeyboardInterrupt, at which the training saves.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    images = args.images.resolve() if args.images else work / 'few.zip'
    wheels = args.wheels.resolve() if args.wheels else None
    try:
        stamp = probe()
        if stamp['device'] == 'CPU' and not args.smoke:
            raise Failed('there is no CUDA card; --smoke does a little of all on a CPU')
        if args.smoke and not images.exists():
            few_images(images)
        call = Call(work, wheels, images, args.smoke, deadline)
        return go_on(call, Results(work / 'results.json', stamp))
    except Failed as error:
        return f'error: {error}'
    except KeyboardInterrupt:
        print('stopped; the same command goes on', file=sys.stderr)
        return UNFINISHED_STATUS


if __name__ == '__main__':
    sys.exit(main())
