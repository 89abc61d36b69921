"""What the tools say where something is wrong, in one line, and what they do not say."""

import importlib
import runpy
import subprocess
import sys

import evaluate
import export
import propagate
import pytest
import train
from cli import errors_in_one_line, one_line, say_import_error, traceback_in
from hostile_configs import classifier
from repository import REPOSITORY

import mmentropy_command
from mmentropy.checks.arguments import SEED
from mmentropy.evaluation.label_propagation import LAYERS
from mmentropy.evaluation.protocols import PROTOCOLS
from mmentropy.weights.export import TARGETS

TOOLS = sorted(
    path.name
    for path in (REPOSITORY / 'tools').glob('*.py')
    if "__name__ == '__main__'" in path.read_text() and path.name != 'launch.py'
)
# Arguments, in which FILE is what is wrong.
READERS = {
    'config.py': ['FILE'],
    'embed.py': ['FILE', 'images'],
    'evaluate.py': ['FILE'],
    'folder_statistics.py': ['FILE'],
    'export.py': ['FILE', '--to', 'timm', '--out', 'out.pth'],
    'import_official.py': ['FILE', '--out', 'out.pth'],
    'make_subset.py': ['FILE', '--fraction', '0.1', '--out', 'out.txt'],
    'neighbours.py': ['FILE', '--page', 'a.html'],
    'pretrain.py': ['FILE'],
    'propagate.py': ['FILE', '--data', 'data'],
    'report.py': ['FILE'],
    'select_runs.py': ['FILE'],
    'test.py': ['FILE', 'a.pth'],
    'train.py': ['FILE'],
    'zoo_file.py': ['FILE', 'name'],
}
# The other arguments that are files or folders, where the first is what it should be.
CHECKPOINT = REPOSITORY / 'configs/weights/mec_fast_r18s_1xb64_50e_digits.pth'
RECIPE = 'mec/r18s_1xb64_50e_digits'
OTHERS = [
    ('embed.py', [CHECKPOINT, 'FILE']),
    ('embed.py', [CHECKPOINT, 'images', '--config', 'FILE']),
    ('evaluate.py', [CHECKPOINT, '--config', 'FILE']),
    ('evaluate.py', [CHECKPOINT, '--data', 'FILE']),
    ('export.py', [CHECKPOINT, '--config', 'FILE', '--to', 'timm', '--out', 'out.pth']),
    ('propagate.py', [CHECKPOINT, '--config', 'FILE', '--data', 'data']),
    ('propagate.py', [CHECKPOINT, '--data', 'FILE']),
    pytest.param('test.py', ['probe.py', 'FILE'], marks=pytest.mark.slow),
    ('train.py', [RECIPE, '--check', '--resume', 'FILE']),
    ('train.py', [RECIPE, '--check', '--cfg-options', 'load_from=FILE']),
]
# These do something without an argument, so they are asked for something that there is not.
WITHOUT_ARGUMENTS = {'doctor.py', 'model_index.py', 'quickstart.py'}
# It reads no file.
WRITERS = {'digits_demos.py'}


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    """Return a function that runs a tool in an empty folder, and returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(tool, *args):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(REPOSITORY / 'tools' / tool), run_name='__main__')
        printed = capsys.readouterr().err
        # Python prints a text that a program leaves with.
        text = left.value.code if isinstance(left.value.code, str) else printed.strip()
        assert left.value.code != 0
        lines = [line for line in text.splitlines() if not line.startswith('left out: ')]
        assert len(lines) == 1 and lines[0].startswith('error: '), text
        return lines[0]

    return run


@pytest.mark.parametrize('tool', TOOLS)
def test_no_argument(tool, said):
    wrong = ['--absent'] if tool in WITHOUT_ARGUMENTS else []
    assert f'{tool} -h lists the arguments' in said(tool, *wrong)


def test_the_table_has_all_tools():
    assert {*READERS, *WITHOUT_ARGUMENTS, *WRITERS} == {*TOOLS}
    assert {file for file, *_ in mmentropy_command.TOOLS.values()} <= {*TOOLS}


@pytest.mark.parametrize('tool, arguments', [*READERS.items(), *OTHERS])
def test_files_that_are_none(tool, arguments, said, tmp_path):
    classifier(tmp_path / 'probe.py')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'empty').touch()
    (tmp_path / 'empty.py').touch()
    (tmp_path / 'foreign').write_bytes(bytes(range(256)))
    (tmp_path / 'foreign.py').write_text('a page of text, not Python\n')
    for name in ('missing', 'missing.py', 'folder', 'empty', 'empty.py', 'foreign', 'foreign.py'):
        said(tool, *[str(argument).replace('FILE', name) for argument in arguments])


def test_weights_of_the_package_are_not_imported(said):
    line = said('import_official.py', 'zoo://mec_fast_r18s_1xb64_50e_digits', '--out', 'a.pth')
    assert 'is a backbone of mmpretrain already: the other tools take it as it is' in line


def test_a_config_that_is_not_there(said):
    assert said('config.py', 'mec/none').startswith('error: no config mec/none: name a file, or')


@pytest.mark.parametrize(
    'tool, arguments',
    [('test.py', ['a.pth']), ('make_subset.py', ['--fraction', '0.1', '--out', 'out.txt'])],
)
def test_an_option_that_nobody_reads(tool, arguments, said, tmp_path):
    classifier(tmp_path / 'probe.py')
    option = ['--cfg-options', 'train_dataloder.batch_size=2']
    line = "error: train_dataloder: did you mean 'train_dataloader'?"
    assert said(tool, 'probe.py', *arguments, *option) == line


SEEDED = {
    'evaluate.py': ['a.pth'],
    'make_subset.py': ['a.py', '--fraction', '0.1', '--out', 'a.txt'],
    'pretrain.py': ['photos'],
    'propagate.py': ['a.pth', '--data', 'data'],
    'quickstart.py': [],
    'train.py': ['a.py'],
}


def test_all_tools_with_a_seed_are_known():
    found = {tool for tool in TOOLS if "'--seed'" in (REPOSITORY / 'tools' / tool).read_text()}
    assert found == {*SEEDED}


@pytest.mark.parametrize('tool', SEEDED)
@pytest.mark.parametrize('value', ['-1', '4294967296', '1.5'])
def test_a_seed_that_numpy_does_not_take(tool, value, said):
    line = f"error: argument --seed: must be {SEED.text}, got '{value}'; {tool} -h lists"
    assert said(tool, *SEEDED[tool], '--seed', value).startswith(line)


def test_a_cosine_that_there_is_not(said, capsys):
    """It is told before the table, and before the features are read."""
    line = 'error: duplicates must be a number in 0..1, got 1.5'
    assert said('neighbours.py', 'a.npz', '--duplicates', '1.5') == line
    assert capsys.readouterr().out == ''


def test_a_folder_in_place_of_a_config(said, tmp_path):
    (tmp_path / 'photos').mkdir()
    line = 'error: photos is a folder, and a config is needed: name a file, or a recipe as mec/'
    assert said('evaluate.py', CHECKPOINT, '--data', 'photos').startswith(line)


# Tools that write a file at their end: the option that names it, an ending, and other arguments,
# in which INPUT is a file that is read.
WRITTEN = [
    ('embed.py', '--out', '.npz', ['INPUT', 'images']),
    ('evaluate.py', '--out', '.json', ['INPUT']),
    ('evaluate.py', '--out', '.json', [CHECKPOINT, '--config', 'INPUT']),
    ('evaluate.py', '--out', '.json', [CHECKPOINT, '--data', 'INPUT']),
    ('make_subset.py', '--out', '.txt', ['INPUT', '--fraction', '0.1']),
    ('neighbours.py', '--page', '.html', ['INPUT']),
]


@pytest.mark.parametrize('tool, option, ending, arguments', WRITTEN)
def test_an_output_is_checked_before_the_work(tool, option, ending, arguments, said, tmp_path):
    """The input is no file of its kind, which would be told if it was read."""
    read = tmp_path / f'read{ending}'
    read.write_text('nothing that is read')
    (tmp_path / f'folder{ending}').mkdir()
    (tmp_path / f'link{ending}').hardlink_to(read)
    arguments = [str(read) if argument == 'INPUT' else argument for argument in arguments]
    for name, message in (
        (f'folder{ending}', f'folder{ending} is a folder: name a file'),
        (read, f'{read} is what the tool reads: name another file'),
        (f'link{ending}', f'link{ending} is what the tool reads: name another file'),
        (f'{read}/file{ending}', f'no folder {read}'),
    ):
        assert said(tool, *arguments, option, name) == f'error: {option}: {message}'
    if ending != '.txt':
        assert 'must end in ' in said(tool, *arguments, option, 'other.pth')
    assert read.read_text() == 'nothing that is read'


def test_a_report_is_a_page(said, tmp_path):
    (tmp_path / 'run/report.html').mkdir(parents=True)
    (tmp_path / 'run/epoch_3.pth').write_text('weights')
    assert said('report.py', 'run') == 'error: --out: run/report.html is a folder: name a file'
    wrong = said('report.py', 'run', '--out', 'run/epoch_3.pth')
    assert wrong == 'error: --out: run/epoch_3.pth must end in .html'
    assert (tmp_path / 'run/epoch_3.pth').read_text() == 'weights'


def test_help_imports_nothing_slow():
    """In one process, which says after each tool whether torch is there."""
    code = (
        'import runpy, sys\n'
        'sys.path.insert(0, "tools")\n'
        f'for tool in {TOOLS}:\n'
        '    sys.argv = [tool, "-h"]\n'
        '    try:\n'
        '        runpy.run_path("tools/" + tool, run_name="__main__")\n'
        '    except SystemExit as left:\n'
        '        assert left.code == 0\n'
        '    print("\\n" + tool, "torch" in sys.modules)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert [f'{tool} False' for tool in TOOLS] == [
        line for line in done.stdout.splitlines() if line.endswith(('.py False', '.py True'))
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    'error, message',
    [
        (
            'ModuleNotFoundError("No module named mmengine")',
            'No module named mmengine; pip install',
        ),
        ('OSError("libcudart.so is missing")', 'libcudart.so is missing; pip install'),
    ],
)
def test_packages_that_are_not_there(error, message):
    """In one process, in which no tool can import mmengine."""
    arguments = {tool: READERS.get(tool, ['coco']) for tool in TOOLS}
    arguments |= dict.fromkeys(WITHOUT_ARGUMENTS, [])
    del arguments['doctor.py']
    code = (
        'import runpy, sys\n'
        'sys.path.insert(0, "tools")\n'
        'class Broken:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name == "mmengine":\n'
        f'            raise {error}\n'
        'sys.meta_path.insert(0, Broken())\n'
        f'for tool, others in {arguments}.items():\n'
        '    sys.argv = ["tools/" + tool, *others]\n'
        '    try:\n'
        '        runpy.run_path(sys.argv[0], run_name="__main__")\n'
        '    except Exception:\n'
        '        sys.excepthook(*sys.exc_info())\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, text=True, capture_output=True
    )
    lines = done.stderr.splitlines()
    assert len(lines) == len(arguments)
    assert all(line.startswith('error: ') and message in line for line in lines), done.stderr


def test_a_package_that_cannot_be_imported_is_named(tmp_path, monkeypatch, capsys):
    package = tmp_path / 'site-packages/broken_package'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('raise OSError("libcudart.so is missing")')
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(OSError) as error:
        importlib.import_module('broken_package')
    say_import_error(error.type, error.value, error.tb)
    line = 'error: broken_package cannot be imported: libcudart.so is missing; pip install'
    assert capsys.readouterr().err.startswith(line)


def test_an_error_that_is_no_import_gets_no_advice_on_packages(tmp_path):
    """The excepthook of a tool, of which a line beside its body raises."""
    code = 'import sys; sys.path.insert(0, "tools"); sys.argv = ["tools/x.py"]; import cli; '
    code += 'exec(compile("open(\'nope\')", "tools/x.py", "exec"))'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, text=True, capture_output=True
    )
    assert done.stderr == "error: [Errno 2] No such file or directory: 'nope'\n"


def test_help_names_what_there_is(monkeypatch, capsys):
    assert (export.TARGETS, propagate.LAYERS) == ((*TARGETS, 'onnx'), LAYERS)
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', '-h'])
    with pytest.raises(SystemExit):
        evaluate.parse_args()
    printed = ' '.join(capsys.readouterr().out.split())
    assert f'of {", ".join(PROTOCOLS)};' in printed


@pytest.mark.slow
def test_hosts_are_silent():
    """A Runner makes hooks that look for a client of files."""
    code = (
        'import mmentropy\n'
        'from mmengine.fileio import FileClient\n'
        'FileClient.infer_client(None, "/tmp")\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, text=True, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_an_error_of_training_is_one_line(monkeypatch, tmp_path):
    """Its traceback is in a file, which the line names."""

    class Fake:
        log_dir, rank = str(tmp_path), 0

        def train(self):
            raise ValueError('the state does not fit\nfor these reasons')

    (tmp_path / 'config.py').write_text('a = 1\n')
    monkeypatch.setattr(train, 'build', lambda cfg, *others: Fake())
    monkeypatch.setattr(sys, 'argv', ['train.py', str(tmp_path / 'config.py')])
    with pytest.raises(SystemExit) as left:
        train.main()
    file = tmp_path / 'traceback_0.txt'
    assert left.value.code == f'error: the state does not fit (traceback: {file})'
    assert file.read_text().startswith('Traceback') and 'reasons' in file.read_text()


def test_an_error_of_a_loader_process_is_the_line_that_counts():
    text = (
        'Caught OSError in DataLoader worker process 0.\n'
        'Original Traceback (most recent call last):\n'
        'OSError: a.png is gone'
    )
    assert one_line(OSError(text)) == 'OSError: a.png is gone'


def test_half_precision_on_a_cpu(monkeypatch, tmp_path):
    (tmp_path / 'config.py').write_text('a = 1\n')
    monkeypatch.setattr(train, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(sys, 'argv', ['train.py', str(tmp_path / 'config.py'), '--amp'])
    with pytest.raises(SystemExit, match='on a CPU there is --amp bfloat16'):
        train.main()


@pytest.mark.parametrize('text', ['a = 1\n', 'optim_wrapper = None\nauto_scale_lr = None\n'])
@pytest.mark.parametrize(
    'option, message',
    [
        (['--amp', 'bfloat16'], 'has no optim_wrapper = dict(...) for --amp to change'),
        (['--auto-scale-lr'], 'has no auto_scale_lr = dict(base_batch_size=...) to scale from'),
    ],
)
def test_an_option_without_the_section_that_it_changes(option, message, text, said, tmp_path):
    (tmp_path / 'config.py').write_text(text)
    assert said('train.py', 'config.py', *option) == f'error: config.py {message}'


def test_divergence_is_one_line_and_names_its_traceback(tmp_path):
    with pytest.raises(SystemExit) as ended, errors_in_one_line(), traceback_in(str(tmp_path), 0):
        raise FloatingPointError('MEC: loss is nan')
    file = tmp_path / 'traceback_0.txt'
    assert str(ended.value) == f'error: MEC: loss is nan (traceback: {file})'
    assert 'FloatingPointError' in file.read_text()


def test_a_full_disk_hides_no_error(tmp_path):
    file = tmp_path / 'traceback_0.txt'
    file.symlink_to('/dev/full')
    with pytest.raises(RuntimeError) as raised, traceback_in(str(tmp_path), 0):
        raise OSError('its last weights are not saved: make room')
    assert str(raised.value).startswith(f'its last weights are not saved: make room ({file}')
    assert 'No space left' in str(raised.value)
