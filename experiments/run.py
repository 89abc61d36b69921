"""Run what an experiment lacks, and write its results and its page.

python experiments/run.py cifar10_table --data data/cifar10_jpeg --seeds 3 --cores 2
python experiments/run.py cifar10_table --smoke

Stopped by Ctrl-C, SIGTERM or a crash it goes on where it was when it is called again; a program
of benchmarks/ or tools/ begins anew. It begins no run after code or configs have changed.
``--smoke`` does everything with a few images in a temporary folder, and keeps nothing.

An experiment is a folder with README.md and experiment.py, which has

- ``runs(records, seeds)``: all runs as dicts. ``label`` says what a run is and has its ``epochs``,
  ``seed`` is its seed, ``recipe`` a file of this repository, ``changes`` the values that differ
  from it by their dotted names, in which {data} stands for the folder of images, ``evaluate`` the
  arguments of tools/evaluate.py if it is evaluated. A run without ``changes`` waits for results of
  others. The recipe may also be a program of benchmarks/ or tools/, and ``changes`` the values of
  its options by their names; there {out} stands for the file measured.json of the work directory,
  and {data} for nothing. Places in a config or an option are relative to the repository.
- ``page(records)``: the generated parts of README.md by the names of their marks. Runs that
  diverged are left out, but for those of a search, and named below the first part.
- ``smoke(run)``: the changes that make a run short, or None if it is not needed for a smoke test.
- where it tries claims ``verdicts(records)``, which pages.py makes a page of.
- where runs were made again ``repeated(records)``, the part of that name of README.md, from all
  records, of which those with the field ``replaced`` are in no other part.
- where needed ``measured(run, folder)``, further fields of the record of a run from its work
  directory, ``files(run, folder)``, which writes files that are to be kept into the work directory
  and returns their places there by those beside README.md, and ``draw(records, folder)``, which
  draws the figures of the page into a folder.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType

from records import (
    ROOT,
    Places,
    all_records,
    check_images,
    current,
    fingerprint,
    is_done,
    is_program,
    keep,
    key_of,
    label_of,
    name_of,
    read_records,
    resolved,
    shown,
    write_whole,
)

# Runs share the machine by processes. torch reads this when it is imported.
os.environ['OMP_NUM_THREADS'] = '1'

sys.path[:0] = [str(ROOT), str(ROOT / 'experiments')]
# Runs are forked from a process that has imported these packages, so that each starts at once.
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['mmentropy', 'mmentropy.engine.hooks', 'mmentropy.evaluation'])
INTERRUPTED_STATUS = 75
# Runs are made of these, without pages and what the runner writes itself.
OWN = ('results.json', '*.png', 'backbones/*.pth')
MADE_OF = ['mmentropy', 'configs', 'tools', 'benchmarks', 'experiments', ':!*.md']
MADE_OF += [f':!experiments/*/{name}' for name in OWN]


@dataclass
class Job:
    """A run that is running."""

    run: dict
    key: str
    folder: Path
    # Commit and machine of each call that worked at it, the last one at the end.
    sessions: list[dict]
    process: multiprocessing.Process


def load(name: str) -> ModuleType:
    """The module of an experiment."""
    path = ROOT / 'experiments' / name / 'experiment.py'
    spec = importlib.util.spec_from_file_location(f'{name}_experiment', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def between_marks(text: str, name: str, new: str) -> str:
    """The text with what stands between the marks of a name replaced."""
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f'the page needs the lines {begin} and {end}, once each')
    before, rest = text.split(begin)
    return f'{before}{begin}\n\n{new}\n\n{end}{rest.split(end)[1]}'


def page(text: str, experiment: ModuleType, records: list[dict]) -> str:
    """The README of an experiment with its generated parts made anew, from all records."""
    parts = experiment.page(shown(records))
    if hasattr(experiment, 'repeated'):
        parts['repeated'] = experiment.repeated(records)
    diverged = [r for r in current(records) if r not in shown(records)]
    if diverged:
        first = next(iter(parts))
        names = [name_of(label_of(r), r['seed']) for r in diverged]
        parts[first] += f'\n\nDiverged: {"; ".join(names)}.'
    for name, part in parts.items():
        text = between_marks(text, name, part)
    return text


def write_pages(experiment: ModuleType, places: Places) -> None:
    """Write the README and the figures from the records."""
    records = all_records(places)
    readme = places.page / 'README.md'
    write_whole(readme, page(readme.read_text(), experiment, records))
    if shown(records) and hasattr(experiment, 'draw'):
        experiment.draw(shown(records), places.page)


def git(*arguments: str) -> str:
    """What git says of this repository."""
    done = subprocess.run(['git', *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def commit() -> str:
    """The commit of this repository, with '-dirty' if what runs are made of has changed since."""
    changed = git('status', '--porcelain', '--untracked-files=normal', '--', *MADE_OF)
    return git('rev-parse', '--short=10', 'HEAD') + ('-dirty' if changed else '')


def changes_since(revision: str) -> str:
    """The changes of what runs are made of, as a patch."""
    return git('diff', revision, '--', *MADE_OF)


def program(path: str, *arguments: object) -> None:
    """Run a program of this repository in this process."""
    file = ROOT / path
    sys.argv = [str(part) for part in (file, *arguments)]
    sys.path.insert(0, str(file.parent))
    runpy.run_path(str(file), run_name='__main__')


def work(folder: Path, run: dict) -> None:
    """Call a program, or train and evaluate, in this process; a stopped training goes on."""
    log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT / 'tools'))
    from cli import leave_with_launcher

    leave_with_launcher()
    (folder / 'diverged').unlink(missing_ok=True)
    seed, evaluate = run['seed'], run.get('evaluate')
    start = time.monotonic()
    try:
        if is_program(run):
            program(run['recipe'], *options(run, folder), '--seed', seed)
        else:
            places = [folder / 'recipe.py', '--work-dir', folder]
            program('tools/train.py', *places, '--resume', '--seed', seed)
    except (FloatingPointError, SystemExit) as error:
        cause = divergence(error)
        if cause is None:
            raise
        write_whole(folder / 'diverged', str(cause))
        return
    finally:
        minutes = minutes_of(folder) + (time.monotonic() - start) / 60
        write_whole(folder / 'minutes', str(minutes))
    if evaluate is not None:
        checkpoint = (folder / 'last_checkpoint').read_text().strip()
        program('tools/evaluate.py', checkpoint, '--out', folder / 'scores.json', *evaluate)


def divergence(error: BaseException | None) -> FloatingPointError | None:
    """Return why a run diverged, if that is the reason for which a program has ended."""
    while error is not None and not isinstance(error, FloatingPointError):
        error = error.__cause__ or error.__context__
    return error


def options(run: dict, folder: Path) -> list[str]:
    """The arguments of a program; a name without a hyphen is that of a positional one."""
    found = []
    for name, values in run['changes'].items():
        found += [name] if name.startswith('-') else []
        found += [str(value).replace('{out}', str(folder / 'measured.json')) for value in values]
    return found


def minutes_of(folder: Path) -> float:
    """Minutes of training so far, over all calls."""
    path = folder / 'minutes'
    return float(path.read_text()) if path.exists() else 0.0


def start(run: dict, places: Places, session: dict) -> Job:
    """Begin a run, or go on with it, in a process of its own."""
    key = key_of(run)
    words = [str(value) for value in run['label'].values() if value is not None]
    name = '_'.join([*words, f'seed{run["seed"]}', key]).replace(' ', '-').replace('/', '-')
    folder = places.work / name
    folder.mkdir(parents=True, exist_ok=True)
    if not is_program(run):
        text = resolved(run).pretty_text.replace('{data}', str(places.data))
        write_whole(folder / 'recipe.py', text)
    sessions = sessions_of(folder, session)
    process = SERVER.Process(target=work, args=(folder, run))
    process.start()
    return Job(run, key, folder, sessions, process)


def sessions_of(folder: Path, session: dict) -> list[dict]:
    """Note commit and machine of a call in a work directory; return those of all calls."""
    path = folder / 'sessions.json'
    found = json.loads(path.read_text()) if path.exists() else []
    found = [*(other for other in found if other != session), session]
    write_whole(path, json.dumps(found))
    return found


def machine() -> str:
    """The machine, as in the benchmarks."""
    sys.path.append(str(ROOT / 'benchmarks'))
    from speed.machine import machine as described

    return described()


def record_of(job: Job, experiment: ModuleType) -> dict:
    """The line of results.json about a run that has ended."""
    record = {name: value for name, value in job.run['label'].items() if value is not None}
    record |= dict(config=job.run['recipe'], changes=job.run['changes'], seed=job.run['seed'])
    *earlier, last = job.sessions
    record |= dict(key=job.key, **last) | (dict(earlier=earlier) if earlier else {})
    record['minutes'] = round(minutes_of(job.folder), 2)
    diverged, scores = job.folder / 'diverged', job.folder / 'scores.json'
    if diverged.exists():
        return dict(record, diverged=diverged.read_text())
    if scores.exists():
        record['scores'] = json.loads(scores.read_text())
    return record | getattr(experiment, 'measured', lambda *_: {})(job.run, job.folder)


def keep_files(job: Job, experiment: ModuleType, places: Places) -> None:
    """Copy what an experiment keeps of a run, other than its record, beside the page."""
    from mmentropy.weights.files import put_whole

    found = getattr(experiment, 'files', lambda *_: {})(job.run, job.folder)
    for name, file in found.items():
        path = places.page / name
        path.parent.mkdir(exist_ok=True)
        put_whole(file.read_bytes(), path)


def summary(run: dict, record: dict) -> str:
    """What a run came to, in a line."""
    scores = record.get('scores', {}).get('checkpoint', {})
    told = [f'{name} {value:.2f}' for name, value in scores.items()]
    if 'diverged' in record:
        told = ['diverged']
    return ', '.join([f'{name_of(run["label"], run["seed"])}: {record["minutes"]:.1f} min', *told])


def settle(job: Job, experiment: ModuleType, places: Places) -> bool:
    """Keep the record of a run whose process has ended; return whether it ended well."""
    job.process.join()
    if job.process.exitcode:
        log = job.folder / 'log.txt'
        lines = log.read_text().splitlines() if log.exists() else []
        print(f'error: {log}: {(lines or ["no output"])[-1]}', file=sys.stderr, flush=True)
        return False
    record = record_of(job, experiment)
    if places.images and '{data}' in str(job.run['changes']):
        record['images'] = places.images
    if 'diverged' not in record:
        keep_files(job, experiment, places)
    keep(record, job.run, places)
    write_pages(experiment, places)
    shutil.rmtree(job.folder)
    print(summary(job.run, record), flush=True)
    return True


class Progress:
    """The time that is left, by the time that an epoch has taken since this call."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.epochs = 0

    def add(self, run: dict) -> None:
        """Count a run that has ended."""
        self.epochs += run['label']['epochs']

    def line(self, todo: list[dict], done: int) -> str:
        """What is done and how long the rest will take, from the first ended run on."""
        text = f'{done} of {done + len(todo)} runs are done'
        if not self.epochs:
            return text
        left = sum(run['label']['epochs'] for run in todo)
        minutes = (time.monotonic() - self.start) / 60 / self.epochs * left
        return f'{text}, about {int(minutes) // 60} h {int(minutes) % 60:02} min are left'


def run_all(experiment: ModuleType, places: Places, seeds: int, cores: int) -> int:
    """Run what results.json lacks, ``cores`` runs at a time; return how many failed.

    Runs share the package as it was imported first. Once code or configs have changed, those that
    are going on end, and no other one begins.
    """
    jobs: list[Job] = []
    failed: list[dict] = []
    progress = Progress()
    session = dict(commit=commit(), machine=machine())
    head = git('rev-parse', 'HEAD')
    before = changes_since(head)
    try:
        while True:
            records = read_records(places)
            runs = experiment.runs(records, seeds)
            todo = [run for run in runs if not is_done(run, records) and run not in failed]
            running = [job.run for job in jobs]
            ready = [run for run in todo if 'changes' in run and run not in running]
            print(progress.line(todo, len(runs) - len(todo) - len(failed)), flush=True)
            changed = changes_since(head) != before
            for run in ready[: 0 if changed else cores - len(jobs)]:
                jobs.append(start(run, places, session))
            if changed and ready and not jobs:
                sys.exit('error: code or configs have changed; the same command goes on')
            if not jobs:
                return len(failed)
            ended = wait([job.process.sentinel for job in jobs])
            for job in [job for job in jobs if job.process.sentinel in ended]:
                jobs.remove(job)
                if settle(job, experiment, places):
                    progress.add(job.run)
                else:
                    failed.append(job.run)
    finally:
        for job in jobs:
            job.process.terminate()
        for job in jobs:
            job.process.join()


def tiny_images(folder: Path) -> None:
    """Write class folders of a few JPEGs for a smoke test."""
    import numpy as np
    from PIL import Image

    draws = np.random.default_rng(0)
    for split, count in (('train', 20), ('test', 5)):
        for name in ('a', 'b'):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f'{i:02}.jpg')


def smoke(experiment: ModuleType, readme: Path, cores: int) -> int:
    """Run everything once, small, in a temporary folder; return how many runs failed."""
    short = ModuleType('smoke')
    vars(short).update(vars(experiment))

    def runs(records: list[dict], seeds: int) -> list[dict]:
        found = [(run, experiment.smoke(run)) for run in experiment.runs(records, seeds)]
        return [
            run | ({'changes': run['changes'] | less} if 'changes' in run else {})
            for run, less in found
            if less is not None
        ]

    short.runs = runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(readme, folder)
        tiny_images(folder / 'data')
        return run_all(short, Places(folder, folder / 'work', folder / 'data'), 1, cores)


def names() -> list[str]:
    """The names of all experiments."""
    return sorted(path.parent.name for path in (ROOT / 'experiments').glob('*/experiment.py'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('name', choices=names())
    parser.add_argument('--smoke', action='store_true', help='all of it small; nothing is kept')
    parser.add_argument('--seeds', type=int, default=3, help='how many, from 0 on')
    parser.add_argument('--cores', type=int, default=2, help='runs at a time, a thread each')
    parser.add_argument('--data', type=Path, help='images in train/CLASS/ and test/CLASS/')
    args = parser.parse_args()
    for name in ('seeds', 'cores'):
        if vars(args)[name] < 1:
            parser.error(f'--{name}: must be at least 1, got {vars(args)[name]}')
    for split in ('train', 'test') if args.data else ():
        if not (args.data / split).is_dir():
            parser.error(f'--data: no folder {args.data / split} of class folders')
    args.data = args.data and args.data.resolve()
    return args


def needs_data(experiment: ModuleType) -> bool:
    """Whether a run of the experiment reads a folder of images."""
    return any('{data}' in str(run.get('changes')) for run in experiment.runs([], 1))


def continued(experiment: ModuleType, args: argparse.Namespace) -> int:
    """Go on with an experiment where it was left; return how many runs failed."""
    from mmentropy.engine.work_dir_lock import lock_work_dir

    work_dirs = ROOT / 'work_dirs/experiments' / args.name
    images = fingerprint(args.data) if args.data else None
    places = Places(ROOT / 'experiments' / args.name, work_dirs, args.data, images)
    try:
        lock_work_dir(work_dirs)
    except ValueError:
        sys.exit(f'error: this experiment is running already, see {work_dirs}/run.lock')
    try:
        check_images(places)
    except ValueError as error:
        sys.exit(f'error: {error}')
    write_pages(experiment, places)
    return run_all(experiment, places, args.seeds, args.cores)


def main() -> int:
    args = parse_args()
    # The process that runs are forked from does not see sys.path. It imports from this folder.
    os.chdir(ROOT)
    # SIGTERM, too, is a KeyboardInterrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    experiment = load(args.name)
    try:
        if args.smoke:
            readme = ROOT / 'experiments' / args.name / 'README.md'
            return smoke(experiment, readme, args.cores) > 0
        if args.data is None and needs_data(experiment):
            sys.exit('error: this experiment needs --data, a folder with train/ and test/')
        return continued(experiment, args) > 0
    except KeyboardInterrupt:
        print('stopped; the same command goes on', file=sys.stderr)
        return INTERRUPTED_STATUS


if __name__ == '__main__':
    sys.exit(main())
