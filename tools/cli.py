"""What the tools share."""

import argparse
import ctypes
import io
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

# The process that started this one. The imports of a tool take long enough for it to end.
LAUNCHER = os.getppid()
SECONDS_TO_SAVE = 30
# The number of seeds that numpy has.
SEEDS = 2**32
# The status of a program that SIGINT has ended, in a shell.
INTERRUPTED = 130
# The threads of libgomp spin while they wait for each other, also for one that does not run because
# another process is busy. So few turns cost little on a quiet machine, and save most of a step's
# time on a busy one (benchmarks/speed/threads.py). libgomp reads the variable when torch is
# imported, which tools do after this module.
os.environ.setdefault('GOMP_SPINCOUNT', '6000')
# With deterministic=True older versions of torch refuse products of matrices on a GPU without it.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
# keep_memory sets these parameters of glibc's mallopt, which have these numbers in malloc.h:
# M_MMAP_MAX, at 0 of which large blocks are no mappings of their own, and M_TRIM_THRESHOLD and
# M_TOP_PAD, in bytes.
KEPT_MEMORY = {-4: 0, -1: 2**31 - 1, -2: 2**28}
# Environment variables with the command that runs a tool, if one does, and an example of it.
COMMAND, EXAMPLE = 'MMENTROPY_COMMAND', 'MMENTROPY_EXAMPLE'


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where its C library is glibc.

    Otherwise large tensors are given back to the system when they are freed, and each page of the
    next one costs a fault, which took a third of a small network's step
    (benchmarks/speed/kept_memory.py). Variables with which a user sets this are respected.
    """
    set_by_user = [name for name in os.environ if name.startswith(('MALLOC_', 'GLIBC_TUNABLES'))]
    if sys.platform == 'linux' and not set_by_user:
        mallopt = getattr(ctypes.CDLL(None), 'mallopt', lambda *_: 0)
        for parameter, value in KEPT_MEMORY.items():
            mallopt(parameter, value)


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong argument in one line.

    Where the command ``mmentropy train`` runs a tool, it calls itself so, and its help ends with an
    example.
    """

    def __init__(self, **options: Any) -> None:
        command = dict(prog=os.environ.get(COMMAND), epilog=os.environ.get(EXAMPLE))
        super().__init__(**(command | options))

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'error: {message}; {self.prog} -h lists the arguments\n')


def checkpoint_parser(doc: str) -> Parser:
    """A parser for CHECKPOINT, --config and --branch.

    Args:
        doc: docstring of the tool, whose first line is the description.
    """
    parser = Parser(description=doc.splitlines()[0])
    parser.add_argument('checkpoint', type=checkpoint_path, help='a file, or zoo://NAME')
    parser.add_argument('--config', help='default: the config stored in the checkpoint')
    add_trust(parser)
    parser.add_argument(
        '--branch',
        default='student',
        choices=['student', 'teacher'],
        help='teacher: the EMA target of BYOL-like models',
    )
    return parser


def checkpoint_path(name: str) -> str:
    """Return the path of a checkpoint, which is a file, or ``zoo://NAME`` of the package."""
    if not name.startswith('zoo://'):
        return name
    # Other checkpoints are named without the seconds that this import takes.
    from mmentropy.weights.zoo import zoo_file

    try:
        return str(zoo_file(name))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def seed(text: str) -> int:
    """Return a seed, as numpy takes it, of an argument."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < SEEDS:
        raise argparse.ArgumentTypeError(f'must be an integer in 0..{SEEDS - 1}, got {text!r}')
    return value


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust."""
    parser.add_argument(
        '--trust',
        action='store_true',
        help='import and run what a config that came with a file names; it can run any code',
    )


def config_path(name: str) -> str:
    """Return the path of a config, which is a file or the name of a recipe, as ``mec/r18s_...``."""
    recipe = Path(__file__).parent.parent / 'configs' / f'{name.removesuffix(".py")}.py'
    return str(recipe) if recipe.is_file() and not Path(name).exists() else name


def read_config(path: str, **options: Any) -> Any:
    """Return mmengine's ``Config`` of a file or recipe, whatever is wrong in one line.

    ``custom_imports`` of it may name modules that lie beside it.

    Raises:
        ImportError, OSError, ValueError: There is no such file, or no config in it.
    """
    from mmengine.config import Config

    path = config_path(path)
    if Path(path).is_dir():
        raise IsADirectoryError(
            f'{path} is a folder, and a config is needed: name a file, or a recipe as mec/r18s_...'
        )
    if not Path(path).is_file():
        raise FileNotFoundError(f'no config {path}: name a file, or a recipe as mec/r18s_...')
    # Last, since no module of a package should be hidden by one of the folder.
    sys.path.append(str(Path(path).absolute().parent))
    try:
        cfg = Config.fromfile(path, **options)
    except ImportError:
        raise
    # A config is Python, so that anything can go wrong in it.
    except Exception as error:
        problem = f'{type(error).__name__}: {one_line(error)}'
        raise ValueError(f'{path} cannot be read as a config: {problem}') from error
    if not cfg:
        raise ValueError(f'{path} is an empty config')
    return cfg


def check_out(
    option: str,
    out: str | Path,
    inputs: Iterable[str | Path | None] = (),
    endings: Sequence[str] = (),
    makes_folder: bool = False,
) -> None:
    """Check a file that a tool writes at its end, before its work.

    Args:
        option: The option that names the file.
        out: The file.
        inputs: What the tool reads, which must not be overwritten; None is left out.
        endings: How the name may end; any way if there are none.
        makes_folder: Whether the tool makes the folder of the file.

    Raises:
        ValueError: It is a folder or an input, has another ending, or its folder is missing or is
            a file.
    """
    out = Path(out)
    if out.is_dir():
        raise ValueError(f'{option}: {out} is a folder: name a file')
    for path in inputs:
        if path is not None and out.exists() and Path(path).exists() and out.samefile(path):
            raise ValueError(f'{option}: {out} is what the tool reads: name another file')
    if endings and out.suffix not in endings:
        raise ValueError(f'{option}: {out} must end in {" or ".join(endings)}')
    folder = out.absolute().parent
    while makes_folder and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise ValueError(f'{option}: no folder {folder if makes_folder else out.parent}')


def leave_with_launcher() -> None:
    """Let this rank leave within a minute after torchrun, which started it, was killed.

    It is told by SIGTERM, on which training saves, and is killed half a minute later, as torchrun
    itself ends ranks.
    """
    threading.Thread(target=_watch_launcher, daemon=True).start()


def join_ranks() -> None:
    """Join the other ranks that torchrun has started, on GPUs where there are some."""
    import torch
    from mmengine.dist import init_dist

    leave_with_launcher()
    if not torch.cuda.is_available():
        # mmengine's function needs a GPU.
        torch.distributed.init_process_group('gloo')
        return
    # mmengine would let loader processes be spawned, each with memory of its own on the GPU.
    torch.multiprocessing.set_start_method('fork')
    init_dist('pytorch')


def _watch_launcher() -> None:
    while os.getppid() == LAUNCHER:
        time.sleep(1)
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.kill(os.getpid(), number)
        time.sleep(SECONDS_TO_SAVE)


@contextmanager
def printing() -> Iterator[None]:
    """Print lists, of which a reader such as ``head`` may want a part only, and names of any bytes.

    The tool ends silently when its reader leaves. What is not Unicode in a name is escaped.
    """
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        yield
        sys.stdout.flush()
    finally:
        signal.signal(signal.SIGPIPE, before)


def aligned(rows: list[list[str]]) -> str:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        lines.append('  '.join([first.ljust(widths[0]), *cells]))
    return '\n'.join(lines)


def score_table(results: dict[str, dict[str, float]]) -> str:
    """Scores with the columns of the first row; '-' where another row has none."""
    names = list(next(iter(results.values())))
    rows = [['', *names]]
    for row, scores in results.items():
        rows.append([row, *(f'{scores[n]:.2f}' if n in scores else '-' for n in names)])
    return aligned(rows)


def commit() -> str:
    """The commit of mmentropy, with '-dirty' if it was changed; '' outside of git."""
    try:
        found = subprocess.run(
            ['git', 'describe', '--always', '--dirty', '--abbrev=10'],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ''
    return found.stdout.strip()


# Users cause these by files, configs, unregistered names, absent modules and divergence.
USER_ERRORS = (
    ValueError,
    OSError,
    FloatingPointError,
    RuntimeError,
    KeyError,
    ImportError,
    TypeError,
    AssertionError,
)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Leave with 'error: ...' on what users cause, and tell torchrun, if it is there.

    Ctrl-C leaves with a word.
    """
    try:
        yield
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(INTERRUPTED)
    except USER_ERRORS as error:
        if 'TORCHELASTIC_ERROR_FILE' in os.environ:
            from torch.distributed.elastic.multiprocessing.errors import get_error_handler

            get_error_handler().record_exception(error)
        sys.exit(f'error: {one_line(error)}')


@contextmanager
def traceback_in(folder: str, rank: int) -> Iterator[None]:
    """Keep the traceback of an error that users may cause in a file, which the error then names."""
    try:
        yield
    except USER_ERRORS as error:
        path = Path(folder, f'traceback_{rank}.txt')
        try:
            path.write_text(traceback.format_exc())
            where = f'traceback: {path}'
        # The disk may be full, which may be why.
        except OSError as unwritten:
            where = f'{path}, its traceback, cannot be written: {one_line(unwritten)}'
        raise RuntimeError(f'{one_line(error)} ({where})') from error


def say_import_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Say in one line what users cause before a tool begins, which is that an import fails.

    Other errors get no advice on packages.
    """
    if not issubclass(kind, USER_ERRORS):
        return sys.__excepthook__(kind, error, trace)
    frames = traceback.extract_tb(trace)
    if not (isinstance(error, ImportError) or _of_an_import(frames)):
        print(f'error: {one_line(error)}', file=sys.stderr)
        return None
    files = [Path(frame.filename).parts for frame in frames]
    failing = [
        parts[parts.index('site-packages') + 1] for parts in files if 'site-packages' in parts
    ]
    named = isinstance(error, ModuleNotFoundError) or not failing
    where = '' if named else f'{failing[-1]} cannot be imported: '
    print(
        f"error: {where}{one_line(error)}; pip install -e '.[onedl]', or '.[openmmlab]' for "
        'upstream, installs what is missing, and tools/doctor.py says what clashes',
        file=sys.stderr,
    )
    return None


def _of_an_import(frames: list[traceback.FrameSummary]) -> bool:
    """Return whether an error was raised while a module was found, or ran, that a tool imports."""
    bodies = [Path(frame.filename) for frame in frames if frame.name == '<module>']
    return any('importlib' in frame.filename for frame in frames) or (
        bool(bodies) and bodies[-1].absolute().parent != Path(__file__).absolute().parent
    )


# The body of each tool has errors_in_one_line() around it; other programs keep their tracebacks.
if Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parent:
    sys.excepthook = say_import_error


def one_line(error: BaseException) -> str:
    """Return what an error says in one line."""
    # str() of a KeyError is in quotes.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = str(text).strip().splitlines()
    if not lines:
        # The source of a bare assertion names what is wrong.
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f'{type(error).__name__}: {where.line}'
    # Errors of loader processes end with the line that counts.
    return lines[-1] if lines[0].startswith('Caught ') else lines[0]
