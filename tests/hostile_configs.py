"""Configs that run code where they are built without care: each makes a folder, the canary."""

import copy
import pickle

from harmful_pickle import Harmful
from small_backbones import SHAPE

ENTRY = dict(
    default_scope='mmpretrain',
    model=dict(
        type='MEC',
        backbone=dict(type='ResNet_CIFAR', **SHAPE),
    ),
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[0.0], std=[1.0]),
    train_dataloader=dict(
        batch_size=8,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(type='Digits', pipeline=[dict(type='PackInputs')]),
    ),
    eval_datasets={
        name: dict(type='Digits', split=name, indices=64, pipeline=[dict(type='PackInputs')])
        for name in ('train', 'test')
    },
)
MODULE = 'module_of_a_stranger'


def plain() -> dict:
    """Return a config that does no harm."""
    return copy.deepcopy(ENTRY)


def text_of(config: dict) -> str:
    """Return a config as mmengine writes it."""
    return ''.join(f'{key} = {value!r}\n' for key, value in config.items())


def classifier(path):
    """Write the config of a classifier and of what it is tested on."""
    config = plain()
    model = dict(
        type='ImageClassifier',
        backbone=config['model']['backbone'],
        head=dict(type='LinearClsHead', num_classes=10, in_channels=32),
    )
    loader = dict(
        batch_size=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=config['eval_datasets']['test'],
    )
    tested = dict(test_cfg={}, test_dataloader=loader, test_evaluator=dict(type='Accuracy'))
    path.write_text(text_of(dict(default_scope='mmpretrain', model=model, **tested)))
    return path


def hostile(folder) -> tuple[dict[str, dict], object]:
    """Return configs by what they attack, and their canary; the files they name are in a folder.

    A module of a stranger is in the folder, too: it makes the canary when it is imported.
    """
    canary = folder / 'canary'
    makes = dict(type='os.mkdir', path=str(canary))
    code = f'import os\nos.makedirs({str(canary)!r}, exist_ok=True)\n'
    (folder / f'{MODULE}.py').write_text(code)
    (folder / f'{MODULE}_scope').mkdir()
    (folder / f'{MODULE}_scope' / 'registry.py').write_text(code)
    (folder / 'ann.pkl').write_bytes(pickle.dumps(Harmful(canary)))
    (folder / 'ann.yaml').write_text(f'!!python/object/apply:os.mkdir ["{canary}"]\n')
    expression = f"float32 if __import__('os').mkdir({str(canary)!r}) else 0"
    steps = dict(
        transform=makes,
        nested=dict(type='MultiView', num_views=[1], transforms=[[makes]]),
        applied=dict(type='RandomApply', prob=1.0, transforms=[makes]),
        side_key=dict(type='RandomResize', scale=(8, 8), resize_type=f'{MODULE}.X'),
        expression=dict(type='torchvision/ConvertImageDtype', dtype=expression),
        late_expression=dict(
            type='RandomResize',
            scale=(8, 8),
            resize_type='torchvision/ConvertImageDtype',
            dtype=expression,
        ),
        albumentations=dict(type='Albu', transforms=[dict(type='Lambda')]),
        function=dict(type='torchvision/Lambda', lambd='os.system'),
        client=dict(
            type='LoadImageFromFile',
            backend_args=dict(
                backend='memcached', server_list_cfg='a', client_cfg='b', sys_path=str(folder)
            ),
        ),
    )
    parts = dict(
        backbone=('model.backbone', makes),
        norm=('model.backbone.norm_cfg', dict(type=f'{MODULE}.Norm')),
        convolution=('model.backbone.conv_cfg', dict(type=f'{MODULE}.Conv')),
        module=('model.backbone.norm_cfg', dict(type=MODULE)),
        initialiser=('model.backbone.init_cfg', [dict(type='Constant', val=1), makes]),
        scope=('model.backbone._scope_', f'{MODULE}_scope'),
        scope_of_type=('model.backbone.type', f'{MODULE}_scope.ResNet'),
        default_scope=('default_scope', f'{MODULE}_scope'),
        preprocessor=('data_preprocessor', makes),
        own_preprocessor=('model.data_preprocessor', makes),
        dataset=('eval_datasets.train', makes),
        wrapped=('eval_datasets.train', dict(type='RepeatDataset', times=1, dataset=makes)),
        listed=('eval_datasets.train', dict(type='ConcatDataset', datasets=[makes])),
        pickle=(
            'eval_datasets.train',
            dict(type='BaseDataset', ann_file=str(folder / 'ann.pkl'), pipeline=[]),
        ),
        yaml=(
            'eval_datasets.train',
            dict(type='BaseDataset', ann_file=str(folder / 'ann.yaml'), pipeline=[]),
        ),
        sampler=('train_dataloader.sampler', makes),
        collate=('train_dataloader.collate_fn', dict(type='os.mkdir')),
        imports=('custom_imports', dict(imports=[MODULE])),
        one_import=('custom_imports', dict(imports=MODULE)),
        timm=('model.backbone', dict(type='TIMMBackbone', model_name='hf-hub:a/b')),
        hub=('model.backbone', dict(type='HuggingFaceClassifier', model_name='a/b')),
    )
    parts |= {name: ('eval_datasets.train.pipeline', [step]) for name, step in steps.items()}
    return {name: with_part(path, value) for name, (path, value) in parts.items()}, canary


def with_part(path: str, value) -> dict:
    """Return the harmless config with another value at a dotted path."""
    config = plain()
    *parents, last = path.split('.')
    part = config
    for name in parents:
        part = part[name]
    part[last] = value
    return config
