"""The command ``mmentropy``: each of its sub-commands is a tool of the package.

It stands outside of the package because importing that takes seconds.
"""

import os
import runpy
import signal
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

CHECKPOINT = 'work_dirs/mec/r18s_1xb64_50e_digits/epoch_50.pth'
# Sub-commands: the file of the tool, what it does, and arguments as an example.
TOOLS = dict(
    train=('train.py', 'train a config', 'mec/r18s_1xb64_50e_digits'),
    pretrain=(
        'pretrain.py',
        'train on a folder of images, with settings chosen for them',
        'PHOTOS --method mec --minutes 5',
    ),
    evaluate=(
        'evaluate.py',
        'score the backbone of a checkpoint: kNN, linear probe, ...',
        f'{CHECKPOINT} --protocols knn,linear --random',
    ),
    embed=(
        'embed.py',
        'features of a folder of images without labels',
        f'{CHECKPOINT} PHOTOS --out photos.npz --thumbnails 32',
    ),
    neighbours=(
        'neighbours.py',
        'nearest images and near-duplicates of embedded images',
        'photos.npz --of cat/0001.jpg --page map.html',
    ),
    statistics=(
        'folder_statistics.py',
        'mean and deviation of the images of a folder',
        'PHOTOS --color-type color',
    ),
    report=('report.py', 'an HTML report of one or several runs', 'work_dirs/a work_dirs/b'),
    select=('select_runs.py', 'rank runs without labels', 'work_dirs/* --by er_bound'),
    propagate=(
        'propagate.py',
        'score a backbone by label propagation on DAVIS',
        f'{CHECKPOINT} --data data/DAVIS',
    ),
    test=(
        'test.py',
        'test a classifier, detector or segmenter',
        'benchmarks/detection/mask-rcnn_r18s_1xb8_8e_digits epoch_8.pth',
    ),
    export=(
        'export.py',
        "a backbone in another library's layout",
        f'{CHECKPOINT} --to onnx --out backbone.onnx',
    ),
    config=(
        'config.py',
        'a config with the file that each value comes from',
        'mec/r18s_1xb64_50e_digits model.head',
    ),
    doctor=('doctor.py', 'what is installed, and what clashes', ''),
    quickstart=('quickstart.py', 'pre-train, evaluate and draw in ten minutes', 'all'),
)
TOOLS['import'] = (
    'import_official.py',
    "checkpoints of other authors' code",
    'mec_r50.pth.tar --out backbone.pth',
)
# They run on several processes with --processes N.
SEVERAL = ('train', 'evaluate', 'test', 'embed')

HELP = """usage: mmentropy COMMAND ...

{commands}
  configs      names of the recipes; mmentropy configs digits: those with 'digits' in them

  mmentropy COMMAND -h lists the arguments of a command. {several} take --processes N.
  A config is a file, or the name of a recipe.

examples:
  mmentropy train mec/r18s_1xb64_50e_digits
  mmentropy train mec/r50_8xb64_100e_in1k --processes 8
  mmentropy evaluate work_dirs/mec/r18s_1xb64_50e_digits/epoch_50.pth
  mmentropy embed work_dirs/mec/r18s_1xb64_50e_digits/epoch_50.pth PHOTOS --out photos.npz"""


def folder() -> Path:
    """Return the folder of the package with its tools and configs, without importing it."""
    spec = find_spec('mmentropy')
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / '.mim'


def help_text() -> str:
    """Return the help of the command."""
    lines = [f'  {name:<12} {what}' for name, (_, what, _) in TOOLS.items()]
    several = f'{", ".join(SEVERAL[:-1])} and {SEVERAL[-1]}'
    return HELP.format(commands='\n'.join(lines), several=several)


def configs(pattern: str = '') -> str:
    """Return the names of recipes that have a text in them, a line each."""
    root = folder() / 'configs'
    names = (str(path.relative_to(root).with_suffix('')) for path in root.rglob('*.py'))
    found = sorted(name for name in names if pattern in name and '_base_' not in name)
    if not found:
        sys.exit(f'error: no recipe has {pattern!r} in its name; mmentropy configs lists all')
    return '\n'.join(found)


def without_processes(arguments: list[str]) -> tuple[list[str], str | None]:
    """Take ``--processes N`` or ``--processes=N`` out of arguments; return the others and N."""
    for at, argument in enumerate(arguments):
        option, equals, count = argument.partition('=')
        if option != '--processes':
            continue
        others = arguments[at + 1 :]
        if not equals:
            count, others = ''.join(others[:1]), others[1:]
        if not count.isdecimal() or int(count) < 1:
            sys.exit(f'error: --processes must be followed by a number of processes, got {count!r}')
        return arguments[:at] + others, count
    return arguments, None


def run_on_several(tool: Path, arguments: list[str], processes: str) -> NoReturn:
    """Become torchrun, which starts the tool on processes of this machine."""
    # Processes on one machine would otherwise each start as many threads as it has cores.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    launch = [str(tool.parent / 'launch.py'), '--standalone', '--nproc-per-node', processes]
    end = ['--launcher', 'pytorch']
    os.execv(sys.executable, [sys.executable, *launch, str(tool), *arguments, *end])


def show(text: str) -> None:
    """Print a text, of which a reader such as ``head`` may want a part only."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def main() -> None:
    """Run a sub-command."""
    command, *arguments = sys.argv[1:] or ['--help']
    if command in ('-h', '--help', 'help'):
        return show(help_text())
    if command in ('-V', '--version', 'version'):
        return show(f'mmentropy {version("mmentropy")}')
    if command == 'configs':
        return show(configs(*arguments[:1]))
    if command not in TOOLS:
        sys.exit(f'error: no command {command!r}; mmentropy -h lists the commands')
    file, _, example = TOOLS[command]
    tool = folder() / 'tools' / file
    if command in SEVERAL:
        arguments, processes = without_processes(arguments)
        if processes is not None:
            run_on_several(tool, arguments, processes)
    # Tools import what they share from their folder.
    sys.path.insert(0, str(tool.parent))
    sys.argv = [str(tool), *arguments]
    os.environ['MMENTROPY_COMMAND'] = f'mmentropy {command}'
    os.environ['MMENTROPY_EXAMPLE'] = f'example: mmentropy {command} {example}'
    runpy.run_path(str(tool), run_name='__main__')


if __name__ == '__main__':
    main()
