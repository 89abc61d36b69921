"""How recipes are built: few files, unique names, headers, nothing left to defaults or drifting."""

import ast
import copy
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import config
import pytest
from mmengine.config import Config
from repository import REPOSITORY

import mmentropy  # noqa: F401  It lets mmengine find the forks' configs by the upstream names.
from mmentropy.checks.config_parts import dicts_in

ROOT = REPOSITORY / 'configs'
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob('*.py'))
CONFIGS = [path for path in FILES if '_base_' not in path.parts]
METHODS = ('mec', 'er', 'minent', 'family', 'baselines')
PRETRAINED = [path for path in CONFIGS if path.parts[0] in METHODS]
# The algorithms whose objective stands in the head.
FAMILY = ('JointEmbedding', 'SimDINO', 'MatrixSSL')


def bases(path: Path) -> list[Path]:
    """The files of ours that a config names in ``_base_``, relative to configs/."""
    names = Config._get_base_files(str(ROOT / path))
    ours = [(ROOT / path).parent / name for name in names if '::' not in name]
    return [file.resolve().relative_to(ROOT) for file in ours]


def chain(path: Path) -> list[Path]:
    """The config and all files of ours that it inherits."""
    return [path, *(file for base in bases(path) for file in chain(base))]


@cache
def load(path: Path) -> dict:
    return Config.fromfile(ROOT / path).to_dict()


def objective(model: dict) -> str:
    """The name of an objective of the family, without ``Loss``; '' for other models."""
    head = model['head']
    loss = head.get('loss', head) if model['type'] in FAMILY else {}
    return loss.get('type', '').removesuffix('Loss')


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse((ROOT / path).read_text())) or ''


def files_of(origins) -> set[str]:
    if isinstance(origins, str):
        return {origins}
    return set().union(*map(files_of, origins.values()))


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_at_most_two_files_of_ours_tell_everything(path):
    files = chain(path)
    assert len(files) <= 2, f'{path} is made of {[*map(str, files)]}'
    _, origins = config.read(str(ROOT / path))
    told = {name for name in files_of(origins) if '::' not in name}
    assert str(path) in told and told <= {*map(str, files)}


def test_base_names_are_unique():
    """Mim finds a config by its base name and refuses two of one name."""
    count = Counter(path.name for path in FILES)
    assert {name for name, n in count.items() if n > 1} == set()


def variants() -> list[Path]:
    return [p for p in CONFIGS if any('_base_' not in base.parts for base in bases(p))]


@pytest.mark.parametrize('path', variants(), ids=str)
def test_variant_has_at_most_ten_lines(path):
    text = (ROOT / path).read_text()
    after = ast.parse(text).body[0].end_lineno
    lines = [line for line in text.splitlines()[after:] if line.strip()]
    assert 2 <= len(lines) <= 10


def test_most_configs_are_variants():
    assert len(variants()) > 80


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_header(path):
    """What it is, our number or that there is none, and the command that runs this file."""
    text = docstring(path)
    first = text.splitlines()[0]
    assert first.endswith('.') and first[0].isupper() or first.startswith('mmpretrain'), first
    command = re.search(r'^Run: (.*)', text, re.MULTILINE | re.DOTALL)
    assert command and f'configs/{path}' in command[1].split()
    if 'features' not in path.parts:
        assert re.search(r'^Ours: (not run\.|.*\d)', text, re.MULTILINE)
    found = re.search(r'_(\d+)xb\d', f'_{path.stem}')
    gpus = int(found[1]) if found else 1
    if gpus > 1:
        assert command[1].startswith(f'bash tools/dist_train.sh configs/{path} {gpus}')
    else:
        assert command[1].startswith('python tools/')


@pytest.mark.slow
def test_names_say_the_method():
    """MEC alone has no prefix; its parent folder tells ablations."""
    for path in PRETRAINED:
        prefix = {'er': 'er_', 'minent': 'minent_'}.get(path.parts[0], '')
        if path.parts[1] in ('table5', 'figure4c'):
            prefix = f'{path.parts[1]}_'
        elif path.parts[0] == 'mec' and load(path)['model']['type'] != 'MEC':
            prefix = 'mec_'
        elif path.parts[0] == 'baselines':
            prefix = load(path)['model']['type'].lower()
        elif path.parts[0] == 'family':
            prefix = f'{objective(load(path)["model"])}_'.lower()
            prefix = dict(empssl_='emp_ssl_', matrixssl_='matrix_ssl_').get(prefix, prefix)
        assert path.name.startswith(prefix), path
        if not prefix:
            other = ('er_', 'minent_', 'mec_', 'baselines_', 'simclr_', 'byol_', 'dino_')
            assert not path.name.startswith(other), path


def dicts(value):
    """All dicts with a type within a config."""
    if isinstance(value, dict):
        if 'type' in value:
            yield value
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from dicts(item)


WRITTEN = dict(
    MEC={'base_momentum'},
    ER={'base_momentum'},
    DINO={'base_momentum', 'center_momentum'},
    BYOL={'base_momentum'},
    WithMEC={'mec', 'weight'},
    JointEmbedding={'together'},
    SimDINO={'base_momentum'},
    MatrixSSL={'base_momentum'},
    VICRegLoss={'invariance', 'variance', 'covariance'},
    EMPSSLLoss={'invariance', 'rate', 'eps'},
    IVNELoss={'invariance', 'entropy'},
    FroSSLLoss={'invariance', 'entropy'},
    MMCRLoss={'local'},
    CorInfoMaxLoss={'invariance', 'spread', 'momentum', 'eps'},
    INTLLoss={'whitening', 'iterations', 'trade_off'},
    LeJEPALoss={'weight', 'directions', 'knots', 'global_views'},
    SimDINOLoss={'invariance', 'rate', 'eps', 'with_teacher'},
    MatrixSSLLoss={'uniformity', 'alignment', 'mu', 'taylor_order'},
    MLPNeck={'num_layers', 'act_cfg'},
    MECLoss={'distortion', 'taylor_order', 'warmup', 'warmup_factor', 'guard'},
    DINOLoss={'temperature', 'target_temperature', 'warmup'},
    MinEntHead={'hid_channels', 'out_channels', 'num_layers'},
    MinEntLoss={'norm'},
    ContrastiveHead={'temperature'},
    MoCo={'queue_len', 'momentum'},
    SwAVLoss={'num_prototypes', 'epsilon', 'sinkhorn_iterations', 'temperature'},
    TwoEncoders={'split'},
    CMCHead={'temperature'},
    ClusterHead={'num_clusters'},
    ClusterHook={'interval', 'components'},
    KNNHook={'interval', 'k'},
    LARS={'lr', 'momentum', 'weight_decay', 'eta'},
    LARC={'lr', 'momentum', 'weight_decay', 'eta', 'nesterov'},
    SGD={'lr', 'momentum', 'weight_decay'},
    Adam={'lr', 'weight_decay'},
    AdamW={'lr', 'weight_decay'},
)


@pytest.mark.slow
def test_what_matters_is_written_out():
    seen = set()
    for path in PRETRAINED:
        cfg = load(path)
        for part in dicts([cfg['model'], cfg['optim_wrapper'], cfg.get('custom_hooks')]):
            kind = part['type']
            needed = WRITTEN.get(kind, set())
            if kind == 'ERLoss':
                needed = {'sphere': {'kappa', 'estimator'}, 'simplex': {'temperature'}}[
                    part['support']
                ]
            if kind == 'MECLoss' and part['guard']:
                needed = needed | {'max_norm'}
            assert needed <= part.keys(), (path, kind, needed - part.keys())
            seen.add(kind)
    assert {*WRITTEN, 'ERLoss'} <= seen


def test_recipes_on_the_same_data_agree():
    """Lines are repeated between recipes, so a test holds them together."""
    found = defaultdict(list)

    def note(kind, value):
        if value not in found[kind]:
            found[kind].append(value)

    for path in PRETRAINED:
        cfg = load(path)
        data = re.search(r'\d+e_(\w+)$', path.stem)[1]
        hooks = copy.deepcopy(cfg['default_hooks'])
        interval = hooks['checkpoint'].pop('interval')
        assert interval == (1 if data == 'fashion_mnist' else 10), path
        note('hooks', hooks)
        note('randomness', cfg['randomness'])
        note('environment', cfg['env_cfg'])
        method = objective(cfg['model'])
        # EMP-SSL has 0.5 for all of them in its code.
        whose = method if path.stem.startswith('emp_ssl_r18_') else ''
        statistics = [cfg['data_preprocessor'][key] for key in ('mean', 'std')]
        note(f'statistics of {data} {whose}'.strip(), statistics)
        note(f'evaluation of {data}', cfg.get('eval_datasets'))
        if 'fast' not in path.stem:
            # On CIFAR-10 MinEnt has the views of its code, CMC those of its paper, which have
            # colour, all others those of SimSiam.
            own = data == 'cifar10' and cfg['model']['type'] in ('MinEnt', 'CMC')
            whose = cfg['model']['type'] if own else ''
            # The family has the views of its codes, but for Digits, where EMP-SSL has more.
            if data != 'digits' or method == 'EMPSSL':
                whose = whose or method
            note(f'views of {data} {whose}'.strip(), cfg['train_dataloader']['dataset'])
        if data in ('digits', 'fashion_mnist'):
            note(f'schedule of {data}', cfg['param_scheduler'])
            parts = ('SimSiamHook', 'ClusterHook')
            measurements = [hook for hook in cfg['custom_hooks'] if hook['type'] not in parts]
            note(f'measurements of {data}', measurements)
    # The views of MEC's code, of BYOL, of SimCLR and the multi-crop.
    assert len(found.pop('views of in1k')) == 4
    # The crops of the code of MEC and of its paper.
    assert len(found.pop('views of places365')) == 2
    assert {kind for kind, values in found.items() if len(values) > 1} == set()
    assert len(found) > 30


def test_photos_are_evaluated_as_sharp_as_they_are_trained():
    """OpenCV's interpolation skips pixels where an image shrinks, as Pillow's does not."""
    found = []
    for path in [*PRETRAINED, Path('benchmarks/features/in1k.py')]:
        steps = [step for step in dicts_in(load(path)) if step.get('type') == 'ResizeEdge']
        assert all(step.get('backend') == 'pillow' for step in steps), path
        found += steps
    assert len(found) > 30
