"""docs/settings.md: which settings of a recipe are the paper's, the code's, or ours.

It is written by tools/model_index.py, from the configs and from configs/facts.yml.
"""

import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
HEAD = """# Settings of the recipes with a published number

Written by `python tools/model_index.py` from the configs and from
[configs/facts.yml](../configs/facts.yml), which says what papers and authors' codes state. A
variant is listed with what differs from its recipe.

- *paper*, *code*: they state this value.
- *inferred*: nobody states it; a figure of the paper implies it.
- *ours*: neither states anything, or the facts say why we differ.
"""


def steps_named(view: list[dict], name: str) -> list[dict]:
    """The steps of a view whose type contains a name, also those in a RandomApply."""
    inner = [step for outer in view for step in outer.get('transforms', [])]
    return [step for step in [*view, *inner] if name in step['type']]


def share(step: dict) -> float:
    """How often a step is applied."""
    return step.get('prob', step.get('p', 1.0))


def of_views(pipeline: list[dict]) -> dict[str, Any]:
    """What the views of a pipeline are made of, the first two where they differ.

    Local views are those that are smaller than the first.
    """
    multi = next(step for step in pipeline if step['type'] == 'MultiView')
    counts = multi['num_views']
    counts = [counts] if isinstance(counts, int) else counts
    every = [view for view, count in zip(multi['transforms'], counts) for _ in range(count)]
    views = every[:2]
    found: dict[str, Any] = {}
    crop = steps_named(views[0], 'RandomResizedCrop')[0]
    # torchvision's scale is a share; mmpretrain's is a size, and its share has a default.
    scale = crop.get('scale')
    least, most = scale if isinstance(scale, tuple) else crop.get('crop_ratio_range', (0.08, 1.0))
    found['crops'] = f'{least:g} to {most:g} of the image'
    found['first step'] = 'crop' if 'Crop' in views[0][0]['type'] else 'jitter'
    jitter = steps_named(views[0], 'ColorJitter')[0]
    found['jitter'] = ' '.join(
        f'{jitter[key]:g}' for key in ('brightness', 'contrast', 'saturation', 'hue')
    )
    for title, name in (('gray', 'Grayscale'), ('blur', 'Blur'), ('solarise', 'Solarize')):
        shares = [sum(map(share, steps_named(view, name))) for view in views]
        found[title] = ' and '.join(f'{value:g}' for value in dict.fromkeys(shares))
    sizes = [crop_size(view) for view in every]
    local = [size for size in sizes if size < sizes[0]]
    if len(sizes) - len(local) > 2:
        found['views'] = len(sizes) - len(local)
    if local:
        found['local views'] = f'{len(local)} of {local[0]} pixels'
    return found


def crop_size(view: list[dict]) -> int:
    """Pixels of a view's side; torchvision's crop calls it size, mmpretrain's scale."""
    crop = steps_named(view, 'RandomResizedCrop')[0]
    return crop.get('size', crop['scale'])


def of_network(model: dict) -> dict[str, Any]:
    """Backbone, projector, predictor and EMA."""
    backbone, neck = model['backbone'], model['neck']
    found = {'backbone': f'{backbone["type"]} {backbone.get("depth", backbone.get("arch"))}'}
    if 'ResNet' in backbone['type']:
        found['last norm of a block'] = (
            'at 0' if backbone.get('zero_init_residual', True) else 'at 1'
        )
    projector = neck.get('projector', neck)
    count = projector.get('num_layers', 2)
    found['projector'] = f'{count} layers, {projector["hid_channels"]}, {projector["out_channels"]}'
    if 'num_prototypes' in neck:
        found['prototypes'] = neck['num_prototypes']
    predictor = model['head'].get('predictor')
    found['predictor'] = f'2 layers, {predictor["hid_channels"]}' if predictor else 'none'
    momentum = model.get('base_momentum')
    found['EMA'] = f'{1 - momentum:g} to 1' if momentum else 'none'
    if backbone.get('drop_path_rate'):
        found['drop path'] = backbone['drop_path_rate']
    return found


def of_objective(model: dict, epochs: int, rows: int) -> dict[str, Any]:
    """The terms of MEC, ER, DINO or SimCLR, or all arguments of another loss of ours."""
    found: dict[str, Any] = {}
    if model['type'] in ('JointEmbedding', 'MatrixSSL', 'SimDINO'):
        loss = model['head'].get('loss', model['head'])
        return {f'{key} of the loss': value for key, value in loss.items() if key != 'type'}
    loss = model['head'].get('loss', {})
    mec = model.get('mec', loss)
    if mec.get('type') == 'MECLoss':
        found['distortion'] = mec['distortion']
        found['Taylor order'] = mec['taylor_order']
        found['warm-up of lambda'] = (
            f'{mec["warmup"] * epochs:g} epochs from 1/{mec["warmup_factor"]:g}'
        )
        found['guard'] = 'on' if mec['guard'] else 'off'
    if 'weight' in model:
        found['weight of MEC'] = model['weight']
    if loss.get('type') == 'ERLoss':
        found['rows of an entropy'] = 'all ranks' if loss['gather'] else f'{rows}, of a rank'
        found['estimator'] = loss.get('estimator', 'plug_in')
        if loss['support'] == 'sphere':
            found['kappa'] = loss['kappa']
        else:
            added = '1e-7 added' if loss.get('authors_constant') else 'exact'
            found['logarithm'] = added
    temperatures = [
        f'{part[key]:g}'
        for part in (loss, model['head'])
        for key in ('temperature', 'target_temperature')
        if isinstance(part.get(key), float)
    ]
    if temperatures:
        found['temperatures'] = ', '.join(temperatures)
    if 'center_momentum' in model:
        found['centring'] = 'yes' if model['center_momentum'] else 'no'
    return found


def end_of_decay(schedulers: list[dict]) -> str:
    """Where a weight decay goes that moves."""
    ends = [s['eta_min'] for s in schedulers if s['type'] == 'CosineAnnealingWeightDecay']
    return f' to {ends[0]:g}' if ends else ''


@cache
def settings(name: str) -> dict[str, Any]:
    """Settings of a recipe by their titles."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py').to_dict()
    optimizer, epochs = cfg['optim_wrapper']['optimizer'], cfg['train_cfg']['max_epochs']
    batch = cfg['auto_scale_lr']['base_batch_size']
    warmups = [s['end'] for s in cfg['param_scheduler'] if s['type'] == 'LinearLR']
    keys = cfg['optim_wrapper'].get('paramwise_cfg', {}).get('custom_keys', {})
    found = {
        'epochs': epochs,
        'batch': batch,
        'optimiser': optimizer['type'],
        'learning rate at 256': f'{optimizer["lr"] * 256 / batch:g}',
        'momentum': optimizer.get('momentum', 'none'),
        'weight decay': f'{optimizer["weight_decay"]:g}' + end_of_decay(cfg['param_scheduler']),
        'warm-up': f'{warmups[0]} epochs' if warmups else 'none',
        'schedule': cfg['param_scheduler'][-1]['type'].removesuffix('AnnealingLR').lower(),
    }
    if 'eta' in optimizer:
        found['eta'] = optimizer['eta']
    if 'clip_grad' in cfg['optim_wrapper']:
        found['largest norm of a gradient'] = cfg['optim_wrapper']['clip_grad']['max_norm']
    if cfg['optim_wrapper'].get('type') == 'BFloat16OptimWrapper':
        found['precision'] = 'bfloat16'
    if any('fix_lr' in value for value in keys.values()):
        found['learning rate of the predictor'] = 'fixed'
    rows = cfg['train_dataloader']['batch_size']
    return {
        **found,
        **of_network(cfg['model']),
        **of_objective(cfg['model'], epochs, rows),
        **of_views(cfg['train_dataloader']['dataset']['pipeline']),
    }


@cache
def read_facts() -> list[dict]:
    """The entries of configs/facts.yml."""
    return yaml.safe_load((CONFIGS / 'facts.yml').read_text())


def facts(name: str) -> dict[str, dict[str, Any]]:
    """What is stated about a recipe: ``paper``, ``code``, ``inferred`` and ``ours`` by setting.

    Entries of configs/facts.yml are applied in their order; null takes a value back.
    """
    found: dict[str, dict[str, Any]] = dict(paper={}, code={}, inferred={}, ours={})
    for entry in read_facts():
        if any(fnmatch(name, pattern) for pattern in entry['recipes']):
            for kind, values in found.items():
                values.update(entry.get(kind, {}))
    return {
        kind: {key: value for key, value in values.items() if value is not None}
        for kind, values in found.items()
    }


def rows_of(name: str) -> dict[str, tuple[str, str, str]]:
    """Return the value of each setting, whose it is, and what else is said about it."""
    known, rows = facts(name), {}
    for title, value in settings(name).items():
        stated = {kind: known[kind].get(title) for kind in ('paper', 'code', 'inferred')}
        whose = [
            kind for kind, said in stated.items() if said is not None and str(said) == str(value)
        ]
        others = [f'{kind}: {said}' for kind, said in stated.items() if said and kind not in whose]
        remarks = '; '.join([*others, *filter(None, [known['ours'].get(title)])])
        rows[title] = (str(value), ', '.join(whose) or 'ours', remarks)
    return rows


def contradictions(name: str, source: str) -> list[str]:
    """Settings that contradict the source of a recipe's number and are not listed as ours."""
    kind = 'paper' if source.startswith(('arXiv', 'OpenReview')) else 'code'
    known, values = facts(name), settings(name)
    unknown = [key for stated in known.values() for key in stated if key not in values]
    return [f'{key} is no setting of {name}' for key in unknown] + [
        f'{name}: {key} is {values[key]}, the {kind} has {said}'
        for key, said in known[kind].items()
        if key in values and str(values[key]) != str(said) and key not in known['ours']
    ]


def page(published: dict[str, dict]) -> str:
    """The text of docs/settings.md."""
    lines, rows = [HEAD], {name: rows_of(name) for name in published}
    for name, found in rows.items():
        text = (CONFIGS / f'{name}.py').read_text()
        base = re.search(r"^_base_ = '([^:]*)\.py'", text, re.MULTILINE)
        parent = None
        if base:
            path = (CONFIGS / f'{name}.py').parent / base[1]
            parent = str(path.resolve().relative_to(CONFIGS))
        told = rows.get(parent or '', {})
        lines += [
            f'## {Path(name).name}',
            '',
            f'[{name}.py](../configs/{name}.py)'
            + (f', a variant of {Path(str(parent)).name}' if told else '')
            + f'. {published[name]["source"]}.',
            '',
        ]
        lines += ['| setting | value | whose | |', '|---|---|---|---|']
        lines += [
            f'| {title} | {" | ".join(row)} |'
            for title, row in found.items()
            if told.get(title) != row
        ]
        lines += ['']
    return '\n'.join(lines)
