"""The pages' commands and code are executed, with small data in the place of the reader's.

What is not executed here has its reason in ``NOT_HERE`` or ``CODE_NOT_HERE``: another test does it,
or it needs what no test has.
"""

import re
import shlex

import numpy as np
import pytest
from documented import blocks, commands
from forked import python
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from repository import REPOSITORY

RECIPE = 'configs/mec/r18s_1xb64_50e_digits.py'
ZOO = 'zoo://mec_fast_r18s_1xb64_50e_digits'
# The pages' names for something of the reader's, and what the tests put in its place.
STANDS_FOR = {
    'CONFIG': RECIPE,
    'CHECKPOINT': ZOO,
    'experiments/cifar10_table/backbones/BYOL+ER_seed0.pth': ZOO,
    '/path/to/images': 'PHOTOS',
    'cat/0001.jpg': 'cat/0.png',
}
# This command writes the features that another one reads.
EMBED = f'python tools/embed.py {ZOO} PHOTOS --out features.npz --thumbnails 32'
# Why commands that have a text are not executed here.
NOT_HERE = {
    'pip install': 'installs; .ci/run begins so',
    'tools/quickstart.sh': 'installs, and trains for two minutes',
    'tools/run_tests.sh': 'runs this test',
    '_in1k': 'needs ImageNet; tests/configs/test_pretraining.py takes a step of each recipe',
    '_imagenet100.py': 'needs ImageNet, likewise',
    '_cifar10.py': 'needs CIFAR-10, likewise',
    '_folder': 'a ResNet-50 at 224 px; tests/configs/test_pretraining.py takes a step of it',
    'dataset.data_root=/path': 'the data of any config; tests/configs/test_pretraining.py',
    'mmentropy pretrain': 'tests/test_folder_pretraining.py',
    'runs/photos/config.py': 'of a run of its own; tests/test_folder_pretraining.py trains by one',
    'tools/dist_train.sh': 'tests/tools/test_machines.py, as several machines',
    'tools/slurm_train.sh': 'needs SLURM',
    'tools/digits_demos.py': 'tests/tools/test_digits_demos.py',
    'mask-rcnn_r18s': 'needs canvases of digits; tests/transfer/test_digits_detection.py',
    'tools/export.py': 'needs a whole ResNet; tests/tools/test_export_and_import.py',
    'tools/import_official.py': "needs the authors' file; tests/weights/test_import_official.py",
    'tools/report.py': 'needs runs; tests/report/test_page.py',
    'tools/select_runs.py': 'needs runs; tests/tools/test_select_runs.py',
    '/voc07.py': 'needs VOC; tests/configs/test_benchmarks.py',
    'configs/spread/': 'tests/docs/test_adding_a_method.py',
    'detector.py': 'needs COCO; tests/transfer/test_your_detector.py',
}
# The same for code.
CODE_NOT_HERE = {
    '# mmentropy/': 'tests/docs/test_adding_a_method.py',
    '# configs/spread/': 'tests/docs/test_adding_a_method.py',
    '# tests/': 'tests/docs/test_adding_a_method.py',
    '# detector.py': 'tests/transfer/test_your_detector.py',
    '...]': "has numbers of the reader's images",
    '=imagenet': 'tests/datasets/test_label_subset.py',
    'import mmentropy\n': 'no config; test_three_functions below',
}
COMMANDS = [*dict.fromkeys(shlex.join(words) for _, words in commands())]
CODE = [*blocks('python')]


def is_here(text, reasons):
    """Whether a command or code is executed here, because there is no reason that it is not."""
    return not any(part in text for part in reasons)


def test_reasons_are_needed_and_name_tests_that_exist():
    code = [text for _, text in CODE]
    for reasons, texts in ((NOT_HERE, COMMANDS), (CODE_NOT_HERE, code)):
        for part, why in reasons.items():
            assert any(part in text for text in texts), part
            for test in re.findall(r'tests/[\w/]+\.py', why):
                assert (REPOSITORY / test).exists()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with photos of two classes and the recipes."""
    folder = tmp_path_factory.mktemp('reader')
    draws = np.random.default_rng(0)
    for number in range(24):
        photo = folder / f'PHOTOS/{("cat", "dog")[number % 2]}/{number}.png'
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (16, 16, 3), np.uint8)).save(photo)
    (folder / 'configs').symlink_to(REPOSITORY / 'configs')
    return folder


def executed(command, folder):
    """Execute a command of a page in a folder, three steps of it if it trains."""
    for theirs, ours in STANDS_FOR.items():
        command = re.sub(rf'(?<!\w){re.escape(theirs)}(?!\w)', ours, command)
    program, first, *rest = shlex.split(command)
    if program == 'mmentropy':
        file, arguments = REPOSITORY / 'mmentropy_command.py', [first, *rest]
    else:
        assert program == 'python'
        file, arguments = REPOSITORY / first, rest
    if 'train' in command:
        arguments.append('--check')
    done = python(file, *arguments, cwd=folder)
    assert done.returncode == 0, f'{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}'


@pytest.mark.slow
@pytest.mark.parametrize('command', [c for c in COMMANDS if is_here(c, NOT_HERE)])
def test_command(command, place):
    if 'neighbours.py features.npz' in command:
        executed(EMBED, place)
    executed(command, place)


@pytest.mark.slow
@pytest.mark.parametrize('page, code', [c for c in CODE if is_here(c[1], CODE_NOT_HERE)])
def test_part_of_a_config(page, code, place):
    file = place / 'part.py'
    code = code.replace("'mec/r50", f"'{REPOSITORY}/configs/mec/r50").replace('epoch_100.pth', ZOO)
    if '_base_ =' not in code:
        bases = ['configs/mec/r50_1xb64_100e_folder.py', 'configs/_base_/views/photos.py']
        bases = bases if 'photo_loader' in code else [RECIPE]
        code = f'_base_ = {[f"{REPOSITORY}/{base}" for base in bases]}\n{code}'
    file.write_text(code)
    if RECIPE in code:
        executed(f'python tools/train.py {file}', place)
    else:
        MODELS.build(Config.fromfile(file).model)


@pytest.mark.slow
def test_three_functions(place):
    """The code of docs/start/photos.md, for as short as possible."""
    ((_, code),) = [block for block in CODE if 'import mmentropy\n' in block[1]]
    code = code.replace('minutes=5', "minutes=0.01, out='run'").replace('OTHER_PHOTOS', 'PHOTOS')
    done = python('-c', f'{code}\nprint(scores)', cwd=place)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    assert "'knn'" in done.stdout
