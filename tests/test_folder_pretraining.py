"""Rules by which a run on a folder of images is set, and such runs."""

import os
import signal
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from messages import one_line
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

import mmentropy
from mmentropy import measuring
from mmentropy.evaluation.scored import NoScoreError
from mmentropy.pretraining import pretrain
from mmentropy.pretraining.config import methods, recipe_of, write_config, write_lists
from mmentropy.pretraining.photos import look
from mmentropy.pretraining.pretrain import load_lines, passed_on, seconds_of_iteration
from mmentropy.pretraining.rules import (
    choose_batch,
    choose_classes,
    choose_color_type,
    choose_epochs,
    choose_held_out,
    choose_lr,
    choose_side,
    schedule,
)
from mmentropy.pretraining.settings import Machine, choose, plan
from mmentropy.views.pipeline_reader import read_transform
from mmentropy.weights.reader import read_checkpoint
from mmentropy.weights.stored_config import config_of
from mmentropy.weights.zoo import CONFIGS


def save_photos(folder, count, sides=(32, 32), seed=0):
    """Save colour PNGs of noise, whose sides are drawn between two numbers."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        size = rng.integers(sides[0], sides[1] + 1, 2)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / f'{i:03}.png')


def save_plain(folder, colours):
    """Save PNGs of 32 x 32 pixels, each of a colour under a little gray noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, colour in enumerate(colours):
        noise = rng.integers(-9, 10, (32, 32, 1))
        Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(folder / f'{i:03}.png')


def planned(folder, machine, seed=0):
    """Return what is known of 16 photos, settings of MEC for them, and the path of a config."""
    save_photos(folder / 'photos', 16)
    found = look(folder / 'photos')
    chosen = choose(found, machine, 'mec', None, 1)
    write_config(folder / 'config.py', recipe_of('mec'), found, chosen, seed)
    return found, chosen, folder / 'config.py'


@pytest.mark.parametrize(
    ('kinds', 'color_type'),
    [
        ({(3, 'uint8'): 5}, 'color'),
        ({(1, 'uint8'): 5}, 'color'),
        ({(4, 'uint8'): 5, (3, 'uint8'): 1}, 'color'),
        ({(1, 'uint16'): 5}, 'unchanged'),
        ({(8, 'uint8'): 5}, 'unchanged'),
        ({(1, 'uint16'): 5, (3, 'uint8'): 1}, 'color'),
        ({}, 'color'),
    ],
)
def test_what_is_loaded_as_colours(kinds, color_type):
    assert choose_color_type(Counter(kinds)) == color_type


@pytest.mark.parametrize(
    ('files', 'classes'),
    [
        (['cat/a.jpg', 'dog/b.jpg'], ('cat', 'dog')),
        (['cat/a.jpg', 'cat/b.jpg'], ()),
        (['cat/a.jpg', 'dog/b.jpg', 'c.jpg'], ()),
        (['train/cat/a.jpg', 'Val/dog/b.jpg'], ()),
        (['a.jpg', 'b.jpg'], ()),
    ],
)
def test_folders_of_classes(files, classes):
    assert choose_classes(files) == classes


def test_a_tenth_of_each_class_is_held_out():
    files = [f'{name}/{i:04}.jpg' for name in ('a', 'b') for i in range(50)]
    held = choose_held_out(files, ('a', 'b'))
    assert Counter(file[0] for file in held) == dict(a=5, b=5)
    assert choose_held_out(files, ()) == []
    assert choose_held_out(files[40:60], ('a', 'b')) == []
    # A class of four images gives none, and accuracy over one class would mean nothing.
    lopsided = [f'a/{i:04}.jpg' for i in range(60)] + [f'b/{i:04}.jpg' for i in range(4)]
    assert choose_held_out(lopsided, ('a', 'b')) == []
    many = [f'{name}/{i:05}.jpg' for name in ('a', 'b') for i in range(30_000)]
    assert len(choose_held_out(many, ('a', 'b'))) == 2000


def test_images_that_cannot_be_read_are_not_held_out(tmp_path):
    """The next image of the class is, since another class could replace it in small folders."""
    for name in ('cat', 'dog'):
        save_photos(tmp_path / 'photos' / name, 12)
    found, machine = look(tmp_path / 'photos'), Machine(cores=1, gpu=False, bfloat16=False)
    assert choose(found, machine, 'mec', None, 1).held_out == ['cat/005.png', 'dog/005.png']
    whole = (tmp_path / 'photos/cat/005.png').read_bytes()
    (tmp_path / 'photos/cat/005.png').write_bytes(whole[: len(whole) // 2])
    chosen = choose(found, machine, 'mec', None, 1)
    assert chosen.held_out == ['cat/006.png', 'dog/005.png']
    write_config(tmp_path / 'config.py', recipe_of('mec'), found, chosen, seed=0)
    assert 'cat/005.png' in (tmp_path / 'train_files.txt').read_text()


def test_side_of_views():
    assert [choose_side(s, True) for s in (8, 32, 63, 64, 100, 4000)] == [32, 32, 32, 64, 96, 224]
    assert choose_side(4000, False) == 64


def test_batch_is_half_of_the_images_at_most():
    assert [choose_batch(n, False) for n in (8, 40, 128, 10**6)] == [4, 16, 64, 64]
    assert choose_batch(10**6, True) == 256


def test_epochs_fit_the_time():
    # 10 iterations of a second fit 27 times into 0.9 of five minutes.
    assert choose_epochs(640, 64, 1.0, 5.0) == 27
    assert choose_epochs(640, 64, 100.0, 5.0) == 1
    assert choose_epochs(640, 64, 1e-6, 5.0) == 300


def test_epochs_fit_the_minutes(tmp_path, monkeypatch):
    found, chosen, path = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=False))
    monkeypatch.setattr(pretrain, 'seconds_of_iteration', lambda config: 0.5)
    lengths = []
    for minutes in (1.0, 2.0):
        chosen.epochs = None
        pretrain.write_plan(path, found, chosen, minutes, seed=0)
        lengths.append(Config.fromfile(path).train_cfg.max_epochs)
    assert lengths == [choose_epochs(16, chosen.batch, 0.5, minutes) for minutes in (1.0, 2.0)]
    assert lengths[0] < lengths[1]


def test_one_core_is_left_to_the_network(tmp_path):
    save_photos(tmp_path / 'photos', 8)
    found = look(tmp_path / 'photos')
    workers = [choose(found, Machine(n, False, False), 'mec', None, 1).workers for n in (1, 4, 64)]
    assert workers == [0, 3, 8]


def test_seed_and_precision_are_in_the_config(tmp_path):
    _, _, path = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=True), seed=7)
    cfg = Config.fromfile(path)
    assert cfg.randomness.seed == 7
    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper'


def test_short_runs_are_measured_ten_times(tmp_path):
    save_photos(tmp_path / 'photos', 32)
    found = look(tmp_path / 'photos')
    intervals = []
    for epochs in (1, 10, 300, 3000):
        chosen = choose(found, Machine(1, gpu=False, bfloat16=False), 'mec', None, epochs)
        assert chosen.batch == 16
        write_config(tmp_path / 'config.py', recipe_of('mec'), found, chosen, seed=0)
        hooks = Config.fromfile(tmp_path / 'config.py').custom_hooks
        intervals += [hook.interval for hook in hooks if hook.type == 'EntropyMonitorHook']
    assert intervals == [1, 2, 60, 100]


def test_views_are_made_from_all_pixels(tmp_path):
    _, _, path = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=False))
    crop = Config.fromfile(path).data_preprocessor.pipeline[0].transforms[0][0]
    assert read_transform(crop).antialias


def test_learning_rate_follows_the_batch():
    assert choose_lr(dict(type='SGD', lr=0.5), 16) == 0.125
    assert choose_lr(dict(type='Adam', lr=0.002), 16) == 0.001


def test_short_runs_have_no_warmup():
    assert [part['type'] for part in schedule(9)] == ['CosineAnnealingLR']
    linear, cosine = schedule(30)
    assert linear['end'] == cosine['begin'] == 3


def test_mistakes(tmp_path):
    save_photos(tmp_path / 'three', 3)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'phone').mkdir()
    for name in ('a.HEIC', 'b.heic', 'c.txt', 'README', '.hidden'):
        (tmp_path / 'phone' / name).write_bytes(b'')
    with pytest.raises(ValueError, match='3 images in .*need 8 at least'):
        mmentropy.pretrain(tmp_path / 'three')
    with pytest.raises(
        FileNotFoundError, match='no images in [^;]*empty and below: looked for [^;]*$'
    ):
        mmentropy.pretrain(tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match='and found 2 .heic, 1 README, 1 .txt$'):
        mmentropy.pretrain(tmp_path / 'phone')
    with pytest.raises(FileNotFoundError, match='no folder .*absent of images$'):
        mmentropy.pretrain(tmp_path / 'absent')
    with pytest.raises(ValueError, match="no 'vicrag'; did you mean 'vicreg'"):
        mmentropy.pretrain(tmp_path / 'three', method='vicrag')
    (tmp_path / 'out' / 'run').mkdir(parents=True)
    with pytest.raises(ValueError, match='has a run already'):
        mmentropy.pretrain(tmp_path / 'three', out=tmp_path / 'out')
    with pytest.raises(AttributeError, match='no attribute'):
        mmentropy.pretrian  # noqa: B018


def test_unreadable_images_are_named(tmp_path):
    save_photos(tmp_path / 'photos', 20)
    for i in range(6):
        (tmp_path / 'photos' / f'bad{i}.png').write_bytes(b'none')
    with pytest.raises(ValueError, match='6 of 26 images cannot be read: .*bad0'):
        look(tmp_path / 'photos')


@pytest.mark.parametrize('name', [' cat/1.png', 'cat/a\nb.png', 'cat/caf\udce9.png'])
def test_names_that_are_no_lines_are_refused_before_training(name, tmp_path):
    for folder in ('cat', 'dog', ' cat'):
        save_photos(tmp_path / 'photos' / folder, 20)
    found = look(tmp_path / 'photos')
    found = found._replace(files=[*found.files[-40:], name])
    with pytest.raises(ValueError, match='rename it') as raised:
        write_lists(found, [], tmp_path)
    assert '\n' not in str(raised.value) and str(raised.value).isprintable()
    write_lists(found._replace(files=found.files[:-1]), [], tmp_path)


def test_files_that_are_no_images_are_told(tmp_path):
    save_photos(tmp_path / 'photos', 8)
    machine = Machine(cores=1, gpu=False, bfloat16=False)
    for names, told in (([], []), (['a.heic', 'b.svg'], ['not read: 1 .heic, 1 .svg'])):
        for name in names:
            (tmp_path / 'photos' / name).write_bytes(b'')
        found = look(tmp_path / 'photos')
        lines = plan(found, choose(found, machine, 'mec', None, 1), 1.0)
        assert [line for line in lines if line.startswith('not read')] == told


def test_16_bits_keep_their_depth(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        tifffile.imwrite(tmp_path / f'{i}.tif', rng.integers(0, 4000, (40, 50), np.uint16))
    found = look(tmp_path)
    assert (found.color_type, found.depth, len(found.mean)) == ('unchanged', 'uint16', 1)
    assert 1900 < found.mean[0] < 2100 and found.side == 40


def test_statistics_are_of_rgb(tmp_path):
    save_plain(tmp_path / 'photos', [(200, 100, 50)] * 8)
    assert look(tmp_path / 'photos').mean == pytest.approx([200, 100, 50], abs=2)


def test_the_images_that_are_looked_at_are_evenly_spaced(tmp_path, monkeypatch):
    monkeypatch.setattr('mmentropy.pretraining.photos.LOOKED_AT', 4)
    save_plain(tmp_path / 'photos', [(50,) * 3] * 4 + [(150,) * 3] * 4)
    assert look(tmp_path / 'photos').mean == pytest.approx([100] * 3, abs=2)


CHECKPOINT = CONFIGS / 'weights/mec_fast_r18s_1xb256_10e_cifar10.pth'


@pytest.mark.parametrize('to_rgb', [False, True])
def test_detectors_turn_colours_as_training_did(to_rgb, tmp_path):
    cfg = config_of(CHECKPOINT)
    cfg.data_preprocessor.to_rgb = to_rgb
    found = {}
    exec(load_lines(CHECKPOINT, cfg, tmp_path)['mmdet'], found)
    assert found['model']['data_preprocessor']['bgr_to_rgb'] is to_rgb


@pytest.mark.slow
def test_what_loads_elsewhere_is_said(tmp_path):
    lines = load_lines(CHECKPOINT, config_of(CHECKPOINT), tmp_path)
    found = {}
    exec(lines['mmdet'], found)
    assert found['model']['data_preprocessor']['bgr_to_rgb'] is False
    cfg = get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    cfg.merge_from_dict(dict(model=found['model']))
    with DefaultScope.overwrite_default_scope('mmdet'):
        backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    weight = read_checkpoint(CHECKPOINT)['state_dict']['backbone.conv1.weight']
    assert torch.equal(backbone.conv1.weight, weight.float())
    for library in ('timm', 'torchvision'):
        assert lines[library].startswith(f'{library} has no such network')
        assert '--backbone resnet18' in lines[library]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('method', sorted(methods()))
def test_every_method_steps_on_a_wide_backbone(method, tmp_path):
    save_photos(tmp_path / 'photos', 40, (20, 60))
    found = look(tmp_path / 'photos')
    machine = Machine(cores=1, gpu=False, bfloat16=False)
    chosen = choose(found, machine, method, 'resnet18', 1)
    recipe = recipe_of(method)
    write_config(tmp_path / 'config.py', recipe, found, chosen, seed=0)
    assert seconds_of_iteration(tmp_path / 'config.py') > 0


CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print('ready', flush=True)
time.sleep(60)
"""


def test_signals_end_the_training_first():
    """A terminal sends SIGINT, a scheduler SIGTERM; neither leaves the other process alone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        child = subprocess.Popen([sys.executable, '-c', CHILD], stdout=subprocess.PIPE)
        with passed_on(child):
            assert child.stdout.readline() == b'ready\n'
            os.kill(os.getpid(), number)
            assert child.wait(10) == 75


@pytest.mark.parametrize('resume', [True, False])
def test_training_is_told_to_resume(resume, tmp_path, monkeypatch):
    (tmp_path / 'last_checkpoint').write_text('/where/it/was/epoch_1.pth')
    commands = []

    def popen(command, **options):
        commands.append(command)
        return SimpleNamespace(stdout=[], wait=lambda: 0)

    monkeypatch.setattr(subprocess, 'Popen', popen)
    checkpoint = pretrain.train(tmp_path / 'config.py', tmp_path, resume=resume)
    assert ('--resume' in commands[0]) is resume
    assert checkpoint == tmp_path / 'epoch_1.pth'


def test_embed_hands_on_its_arguments(tmp_path, monkeypatch):
    given = {}

    def embedded(checkpoint, folder, out, **options):
        given.update(options)
        np.savez(out, features=np.zeros((1, 2)), paths=['a'])
        return []

    monkeypatch.setattr(measuring, 'embed_checkpoint', embedded)
    options = dict(size=48, thumbnails=8, batch_size=5)
    measuring.embed('a.pth', 'photos', tmp_path / 'a.npz', workers=2, **options)
    assert given == dict(options, num_workers=2)


def test_evaluate_takes_the_data_of_another_config(tmp_path, monkeypatch):
    data = tmp_path / 'data.py'
    data.write_text("eval_datasets = dict(train=dict(type='A'), test=dict(type='B'))\n")
    monkeypatch.setattr(measuring, 'evaluate_checkpoint', lambda *_, data, **__: data)
    assert measuring.evaluate(CHECKPOINT, data=data) == (dict(type='A'), dict(type='B'))


def test_a_run_ends_well_without_a_score(tmp_path, monkeypatch, capsys):
    """Nothing that has been trained is lost where held-out images can no longer be read."""
    _, _, config = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=False))
    config.write_text(config.read_text() + "eval_datasets = dict(test=dict(type='ClassFolders'))\n")

    def no_score(*args, **kwargs):
        raise NoScoreError('all test rows are of class 1')

    monkeypatch.setattr(pretrain, 'evaluate_checkpoint', no_score)
    for name in ('embed_checkpoint', 'read_runs', 'measured_runs', 'report_html', 'write_page'):
        monkeypatch.setattr(pretrain, name, lambda *args, **kwargs: [])
    monkeypatch.setattr(pretrain, 'load_lines', lambda *args: {})
    found = pretrain.finish(config, tmp_path / 'run/epoch_1.pth')
    assert found.scores == {} and found.checkpoint.name == 'epoch_1.pth'
    assert 'no kNN of held-out images: all test rows are of class 1' in capsys.readouterr().out


def test_there_is_nothing_to_go_on_with(tmp_path):
    with pytest.raises(FileNotFoundError, match='no run to go on with'):
        mmentropy.pretrain(tmp_path, out=tmp_path / 'out', resume=True)


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('method', 'er'),
        ('backbone', 'resnet18'),
        ('epochs', 2),
        ('minutes', 1.0),
        ('seed', 0),
        ('dry_run', True),
    ],
)
def test_a_resumed_run_takes_nothing_but_its_config(option, value, tmp_path, monkeypatch):
    _, _, config = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=False))
    monkeypatch.setattr(pretrain, 'train', lambda *args, **kwargs: pytest.fail('it trains'))
    name = option.replace('_', '-')
    with pytest.raises(ValueError, match=f'goes on by {config}: leave --{name} out') as error:
        mmentropy.pretrain(tmp_path / 'photos', out=tmp_path, resume=True, **{option: value})
    assert one_line(error)


def test_a_resumed_run_is_of_the_same_images(tmp_path, monkeypatch):
    _, _, config = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=False))
    (tmp_path / 'others').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'photos')
    trained = []
    monkeypatch.setattr(pretrain, 'train', lambda config, *_, **__: trained.append(config))
    monkeypatch.setattr(pretrain, 'finish', lambda *_: None)
    with pytest.raises(ValueError, match='images are in .*photos and not in .*others: ') as error:
        mmentropy.pretrain(tmp_path / 'others', out=tmp_path, resume=True)
    assert one_line(error) and not trained
    for folder in ('photos', 'link'):
        mmentropy.pretrain(tmp_path / folder, out=tmp_path, resume=True)
    assert trained == [config, config]


def test_an_edited_config_is_kept(tmp_path, capsys):
    """A second plan does not overwrite what may have been edited after the first one."""
    save_photos(tmp_path / 'photos', 8)
    run = dict(epochs=1, out=tmp_path / 'out', dry_run=True)
    mmentropy.pretrain(tmp_path / 'photos', **run)
    config, kept = tmp_path / 'out/config.py', tmp_path / 'out/config_before.py'
    assert capsys.readouterr().out.endswith('--resume trains by this config, also if you edit it\n')
    mmentropy.pretrain(tmp_path / 'photos', **run)
    assert not kept.exists()
    planned = config.read_text()
    config.write_text(planned + 'seed = 5\n')
    mmentropy.pretrain(tmp_path / 'photos', **run)
    assert config.read_text() == planned
    assert kept.read_text() == planned + 'seed = 5\n'
    assert f'the config that was there is {kept} now' in capsys.readouterr().out


def test_no_dry_run_loses_an_edit(tmp_path, monkeypatch):
    found, chosen, path = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=False))
    monkeypatch.setattr(pretrain, 'seconds_of_iteration', lambda config: 0.5)
    edited = path.read_text() + 'edited = 1\n'
    path.write_text(edited)
    for seed in (1, 2, 3):
        pretrain.write_plan(path, found, chosen, 5.0, seed)
    kept = {file.name: file.read_text() for file in tmp_path.glob('config*.py')}
    assert {*kept} == {'config.py', *(f'config_before{n}.py' for n in ('', 2, 3))}
    assert kept['config_before.py'] == edited
    for name, seed in (('config_before2.py', 1), ('config_before3.py', 2), ('config.py', 3)):
        assert Config.fromfile(tmp_path / name).randomness.seed == seed


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
def test_a_trial_that_ends_early_leaves_the_config(error, tmp_path, monkeypatch):
    found, chosen, path = planned(tmp_path, Machine(cores=1, gpu=False, bfloat16=False))

    def end(config):
        assert config.exists()
        raise error

    monkeypatch.setattr(pretrain, 'seconds_of_iteration', end)
    edited = path.read_text() + 'edited = 1\n'
    path.write_text(edited)
    with pytest.raises(error):
        pretrain.write_plan(path, found, chosen, 5.0, seed=1)
    assert path.read_text() == edited
    assert [file.name for file in tmp_path.glob('*.py')] == ['config.py']


# The cells of a notebook.
CELLS = [
    'import mmentropy',
    "run = mmentropy.pretrain('photos', backbone='resnet18', epochs=1, out='out')",
    "found = mmentropy.embed(run.checkpoint, 'photos')",
    "scores = mmentropy.evaluate(run.checkpoint, ['knn'], random=True)",
    """
assert found.features.shape == (40, 512) and found.paths[0] == 'cat/000.png'
assert not found.unreadable
assert scores == run.scores and scores.keys() == {'checkpoint', 'random'}
assert 'torchvision.models.resnet18()' in run.load['torchvision']
assert run.report.stat().st_size > 10_000
""",
]


@pytest.mark.slow
def test_three_functions_in_a_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    for name in ('cat', 'dog'):
        save_photos(tmp_path / 'photos' / name, 20, seed=len(name) + ord(name[0]))
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS])
    resources = dict(metadata=dict(path=tmp_path))
    # A cell that raises an error raises it here.
    NotebookClient(notebook, timeout=600, kernel_name='python3', resources=resources).execute()
    shown = ''.join(output.get('text', '') for output in notebook.cells[1].outputs)
    assert 'training: 1 epochs = 2 steps of batch 16' in shown and 'kNN of held-out' in shown
