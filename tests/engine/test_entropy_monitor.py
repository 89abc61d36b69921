"""The monitor measures any algorithm and does not disturb it."""

import json
import os
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.registry import DATASETS
from mmpretrain.registry import MODELS as MODEL_REGISTRY
from mmpretrain.structures import DataSample
from monitored import (
    MODELS,
    ONE_VIEW,
    PAIR,
    RECONSTRUCTION,
    VIT,
    Stripes,
    config,
    hook,
    logged,
    the_hook,
    train,
)
from ranks import on_ranks

from mmentropy.distributed import unwrapped
from mmentropy.engine import monitored_features as monitor
from mmentropy.engine.collapse_alarms import PATIENCE, Alarms
from mmentropy.engine.hooks.entropy_monitor import EntropyMonitorHook
from mmentropy.engine.monitored_features import TrainingFeatures
from mmentropy.functional.diagnostics import (
    assignment_entropy,
    leave_one_out_knn,
    measure,
    point_entropy,
    spectrum,
)
from mmentropy.functional.simplex import discrete_entropy
from mmentropy.models import ERLoss

SIMPLEX = {'simplex_entropy', 'simplex_reconstruction', 'simplex_bound'}


def spectra(runner):
    file = Path(runner.log_dir, 'vis_data', 'monitor.jsonl')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_every_algorithm_is_measured_and_left_alone(tmp_path, name):
    runner = train(tmp_path, name, 'hook', hook())
    plain = train(tmp_path, name, 'plain')
    theirs = plain.model.state_dict()
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, theirs[key]), key
    for ours, other in zip(runner.model.modules(), plain.model.modules()):
        assert ours.training == other.training
        assert not ours._forward_hooks
    for (key, p), q in zip(runner.model.named_parameters(), plain.model.parameters()):
        assert p.grad is q.grad is None or torch.equal(p.grad, q.grad), key

    found = logged(runner)
    assert list(found) == [2, 4]
    parts = ['backbone']
    if name != 'mae':  # which has a decoder
        parts += ['projector']
    for prefix in ('monitor', 'monitor_train'):
        for part in parts:
            names = ONE_VIEW | PAIR
            if name == 'mae' and prefix == 'monitor_train':
                names = ONE_VIEW
            if name in ('dino', 'swav') and part == 'projector':
                names = names | {'assignment_entropy', *SIMPLEX}
            if name == 'minent' and part == 'projector':
                names = names | {f'head{i}_target_entropy' for i in (0, 1)}
            start = f'{prefix}/{part}/'
            got = {key.removeprefix(start) for key in found[4] if key.startswith(start)}
            assert got == names
    assert {key.split('/')[1] for key in found[4]} == set(parts)
    # The save_best of a config can name all that is measured. These images have no labels for knn.
    offered = {key for key in the_hook(runner).scalar_names(runner) if key.split('/')[1] in parts}
    assert offered - {f'monitor/{part}/knn' for part in parts} == {
        key for key in found[4] if key.startswith('monitor/')
    }
    lines = spectra(runner)
    assert [(line['iter'], line['epoch']) for line in lines] == [(2, 1), (4, 2)]
    assert set(lines[-1]['spectrum']) == set(parts)

    # The last held-out numbers once more, of the images and the weights.
    views = the_hook(runner)._held_out
    assert [len(view) for view in views] == [12, 12]
    model = runner.model.eval()
    feats = [model.extract_feat(view) for view in views]
    rows = dict(backbone=[monitor.pooled(feat, model.backbone, 12) for feat in feats])
    if name == 'swav':
        rows['projector'] = [model.neck([feat]) for feat in feats]
    elif name == 'cmc':
        # Its views are those of one image.
        rows['projector'] = list(model.neck(feats[0])[0].split(16, dim=1))
    elif 'projector' in parts:
        rows['projector'] = [model.neck(feat)[0] for feat in feats]
    if name == 'minent':
        heads = [model.head.projectors(feat) for feat in rows['projector']]
        rows['projector'] = [torch.cat([first, second], 1) for (first,), (second,) in heads]
    for part in parts:
        expected, shares = measure(rows[part])
        if name == 'minent' and part == 'projector':
            for i, (logits,) in enumerate(heads[0]):
                # Their balance as the loss has it, of the first view twice.
                found_by_loss = model.head.loss_module(logits, logits)
                expected[f'head{i}_target_entropy'] = float(found_by_loss['target_entropy']) * (
                    np.log(min(logits.shape[1], 24)) / np.log(min(logits.shape[1], 12))
                )
        if name in ('dino', 'swav') and part == 'projector':
            logits = rows[part]
            if name == 'swav':
                logits = [model.head.loss_module.prototypes(z) for z in logits]
            expected['assignment_entropy'] = float(assignment_entropy(logits[0], temperature=0.1))
            first, second = [(z / 0.1).softmax(dim=1) for z in logits]
            terms = ERLoss(support='simplex', temperature=0.1)(*logits)
            assert not torch.equal(discrete_entropy(first), discrete_entropy(second))
            expected['simplex_entropy'] = float(terms['entropy'])
            expected['simplex_reconstruction'] = float(terms['reconstruction'])
            expected['simplex_bound'] = -float(terms['loss'])
        for key, value in expected.items():
            assert found[4][f'monitor/{part}/{key}'] == pytest.approx(value, rel=1e-3, abs=1e-3), (
                key
            )
        assert lines[-1]['spectrum'][part] == pytest.approx(shares.tolist(), abs=1e-4)
    hub = MessageHub.get_instance(runner.experiment_name)
    assert (
        hub.get_scalar('monitor/backbone/rankme').current() == (found[4]['monitor/backbone/rankme'])
    )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['simsiam', 'simclr', 'mec', 'dino', 'minent'])
def test_tap_takes_the_features_of_the_step(tmp_path, name):
    """Against a second forward pass in training mode."""
    runner = Runner.from_cfg(config(tmp_path, name, 'tap'))
    MessageHub.get_current_instance().update_info('max_iters', 4)
    model = runner.model.train()
    views = [torch.randint(0, 255, (6, 3, 16, 16)) for _ in range(2)]
    tap = TrainingFeatures(model)
    data = model.data_preprocessor(dict(inputs=views, data_samples=None), True)
    model(**data, mode='loss')
    tap.remove()
    found = tap.features(5)
    x1, x2 = data['inputs']
    if name == 'simclr':
        both = torch.stack([x1, x2], 1).flatten(0, 1)
        feats = model.backbone(both)[-1].mean((2, 3))
        z = model.neck(model.backbone(both))[0]
        expected = dict(backbone=[feats[::2], feats[1::2]], projector=[z[::2], z[1::2]])
    else:
        feats = [model.backbone(x) for x in (x1, x2)]
        expected = dict(
            backbone=[f[-1].mean((2, 3)) for f in feats],
            projector=[model.neck(f)[0] for f in feats],
        )
    if name == 'minent':
        heads = model.head.projectors(*expected['backbone'])
        expected['projector'] = [torch.cat([heads[0][view], heads[1][view]], 1) for view in (0, 1)]
    assert found.keys() == expected.keys()
    for part, pair in expected.items():
        assert len(found[part]) == 2
        for ours, theirs in zip(found[part], pair):
            assert not ours.requires_grad
            torch.testing.assert_close(ours, theirs[:5].detach())


def test_tap_takes_two_views_one_after_the_other():
    """As SwAV gives them to the network."""
    model = torch.nn.Module()
    model.data_preprocessor = torch.nn.Identity()
    model.backbone, model.neck = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    tap = TrainingFeatures(model)
    views = torch.randn(2, 5, 3)
    model.data_preprocessor(dict(inputs=list(views)))
    model.neck(model.backbone(input=views.flatten(0, 1)))
    tap.remove()
    model.backbone(views[0])
    for ours, x in zip(tap.features(3)['backbone'], views):
        torch.testing.assert_close(ours, model.backbone(x)[:3])


def test_features_of_a_masked_backbone():
    """Tokens, not the mask; a decoder of two arguments is no projector."""
    tokens, mask = torch.randn(2, 5, 3), torch.ones(2, 4)
    model = torch.nn.Module()
    model.data_preprocessor = torch.nn.Identity()
    model.backbone = torch.nn.Identity()
    model.neck = torch.nn.Bilinear(3, 3, 2)
    mask_of_all = torch.ones(1, 4, 1)
    found = monitor.pooled(
        (tokens, mask, mask.long(), mask_of_all, torch.tensor(1.0)), model.backbone, 2
    )
    torch.testing.assert_close(found, tokens.mean(1))
    model.backbone.cls_token = 0
    found = monitor.pooled((tokens, mask), model.backbone, 2)
    torch.testing.assert_close(found, tokens[:, 0])
    assert found.data_ptr() != tokens.data_ptr()
    tap = TrainingFeatures(model)
    model.data_preprocessor(dict(inputs=tokens))
    model.neck(model.backbone(tokens)[:, 0], tokens[:, 1])
    tap.remove()
    assert [view.shape for view in tap.features(2)['backbone']] == [(2, 3)]
    assert tap.features(2).keys() == {'backbone'}


SWIN = dict(embed_dims=16, depths=[1] * 4, num_heads=[2] * 4)
MASKED = dict(
    # Its neck gives a row per token.
    maskfeat=(
        16,
        224,
        dict(
            type='MaskFeat',
            backbone=dict(type='MaskFeatViT', arch=VIT, patch_size=16),
            neck=dict(type='LinearNeck', in_channels=16, out_channels=108, norm_cfg=None),
            head=dict(type='MIMHead', loss=RECONSTRUCTION),
            target_generator=dict(type='HOGGenerator', nbins=9, pool=8, gaussian_window=16),
        ),
    ),
    # Its backbone gives one mask for all images.
    mixmim=(
        128,
        64,
        dict(
            type='MixMIM',
            backbone=dict(
                type='MixMIMPretrainTransformer',
                arch=SWIN,
                img_size=64,
                mlp_ratio=1,
                window_size=[2] * 4,
            ),
            neck=dict(
                type='MixMIMPretrainDecoder',
                num_patches=4,
                encoder_stride=32,
                embed_dim=128,
                decoder_embed_dim=16,
                decoder_depth=1,
                decoder_num_heads=2,
            ),
            head=dict(type='MixMIMPretrainHead', norm_pix=True, loss=RECONSTRUCTION),
        ),
    ),
)


@pytest.mark.parametrize('name', MASKED)
def test_masked_algorithms_have_a_backbone_alone(name):
    init_default_scope('mmpretrain')
    width, size, cfg = MASKED[name]
    model = MODEL_REGISTRY.build(cfg)
    samples = [DataSample() for _ in range(6)]
    for sample in samples:
        sample.set_field(torch.rand(14, 14) > 0.5, 'mask')
    images = torch.randn(6, 3, size, size)
    tap = TrainingFeatures(model)
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    model.loss(data['inputs'], samples)
    tap.remove()
    trained = tap.features(4)
    held_out = monitor.encode(model, [images, images], 'projector' in trained)
    for found, views, rows in ((trained, 1, 4), (held_out, 2, 6)):
        assert found.keys() == {'backbone'}
        assert [x.shape for x in found['backbone']] == [(rows, width)] * views


def test_a_tokenizers_images_are_no_view():
    """As BEiT's, of other sizes or other means."""
    init_default_scope('mmpretrain')
    preprocessor = MODEL_REGISTRY.build(
        dict(
            type='TwoNormDataPreprocessor',
            mean=[100.0] * 3,
            std=[50.0] * 3,
            second_mean=[0.0] * 3,
            second_std=[255.0] * 3,
        )
    )
    images = torch.randint(0, 255, (40, 3, 8, 8), dtype=torch.uint8)
    # One image with its half, drawn anew at each call.
    dataset = [(image, image[:, ::2, ::2]) for image in images]

    def collate(items):
        return dict(
            inputs=[torch.stack(views).float() + torch.rand(1) for views in zip(*items)],
            data_samples=None,
        )

    views = monitor.two_views(dataset, [3, 1], collate, preprocessor)
    assert [view.shape for view in views] == [(2, 3, 8, 8)] * 2
    tap = TrainingFeatures(
        SimpleNamespace(data_preprocessor=preprocessor, backbone=torch.nn.Identity(), head=None)
    )
    preprocessor(collate([dataset[0]]), True)
    assert len(tap.views) == 1
    tap.remove()


def test_two_views_are_drawn_by_a_pipeline_of_one():
    """Each is that of its image, whichever images are beside it."""

    class Drawn:
        def __getitem__(self, index):
            return torch.rand(3, 8, 8)

    def collate(items):
        return dict(inputs=torch.stack(items), data_samples=None)

    def views(*images):
        return monitor.two_views(Drawn(), [*images], collate, preprocessor)

    preprocessor = SelfSupDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)
    first, second = views(3, 1)
    assert not torch.equal(first, second)
    for whole, (alone,) in zip((first, second), views(1)):
        assert torch.equal(whole[1], alone)


def test_views_made_in_batch_do_not_depend_on_the_iteration():
    """Nor on the images beside."""
    init_default_scope('mmpretrain')
    crop = dict(type='RandomResizedCrop', scale=8)
    preprocessor = MODEL_REGISTRY.build(
        dict(type='BatchViews', pipeline=[dict(type='MultiView', num_views=2, transforms=[[crop]])])
    )
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)

    def views(*rows):
        collate = lambda items: dict(inputs=torch.stack(items))  # noqa: E731
        return monitor.two_views(images, [*rows], collate, preprocessor)

    first, second = views(3, 1)
    assert not torch.equal(first, second)
    MessageHub.get_current_instance().update_info('iter', 20)
    for whole, (alone,) in zip((first, second), views(1)):
        assert torch.equal(whole[1], alone)
    MessageHub.get_current_instance().update_info('iter', 0)


def test_held_out_images_may_be_a_subset():
    init_default_scope('mmpretrain')
    pipeline = [dict(type='PackImage')]
    digits = dict(type='Digits', split='test', pipeline=[])
    subset = dict(type='LabelSubset', shots=2, dataset=digits)
    cfg = Config(
        dict(
            eval_datasets=dict(train=digits, test=subset),
            train_dataloader=dict(dataset=dict(digits, pipeline=pipeline)),
        )
    )
    dataset = monitor.held_out_dataset(SimpleNamespace(cfg=cfg))
    assert len(dataset) == 20 and dataset[0]['inputs'].shape == (8, 8, 1)
    assert cfg.eval_datasets.test.dataset.pipeline == []


@pytest.mark.slow
def test_held_out_views(tmp_path):
    """The test set's images, the same in every run; or the training set's."""
    runner = train(tmp_path, 'simsiam', 'test', hook(interval=100))
    views = the_hook(runner)._held_out
    again = train(tmp_path, 'simsiam', 'seed', hook(interval=100), randomness=dict(seed=7))
    for ours, theirs in zip(views, the_hook(again)._held_out):
        assert torch.equal(ours, theirs)
    # The two views are of the same image, and not the same.
    images = np.stack([info['img'] for info in Stripes(40, 100, pipeline=[]).load_data_list()])
    # Data sets are often sorted by class.
    spread = [0, 4, 7, 11, 14, 18, 21, 25, 28, 32, 35, 39]
    for view in views:
        means = (view * 60 + 120).mean((1, 2, 3))
        close = torch.from_numpy(images[spread]).float().mean((1, 2, 3))
        assert np.corrcoef(means, close)[0, 1] > 0.8
    assert not torch.equal(*views)
    runner = train(tmp_path, 'simsiam', 'train', hook(images=100), eval_datasets=None)
    assert [len(view) for view in the_hook(runner)._held_out] == [16, 16]
    assert not torch.equal(the_hook(runner)._held_out[0][:12], views[0])


def test_views_made_in_batch_are_left_alone(tmp_path):
    """Their draws depend on how often they were made."""
    batched = dict(
        data_preprocessor=dict(
            type='BatchViews',
            mean=[120.0] * 3,
            std=[60.0] * 3,
            pipeline=[
                dict(
                    type='MultiView',
                    num_views=[2],
                    transforms=[
                        [
                            dict(type='RandomResizedCrop', scale=16),
                            dict(type='RandomFlip', prob=0.5),
                        ]
                    ],
                )
            ],
        ),
        train_dataloader=dict(
            batch_size=8,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='collate_images'),
            dataset=dict(type='Stripes', size=16, pipeline=[dict(type='PackImage')]),
        ),
    )
    runner = train(tmp_path, 'simsiam', 'hook', hook(), **batched)
    theirs = train(tmp_path, 'simsiam', 'plain', **batched).model.state_dict()
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, theirs[key]), key
    assert logged(runner)[4]['monitor/backbone/alignment'] > 0


def test_bad_arguments(tmp_path):
    for kwargs in (dict(interval=0), dict(images=1)):
        with pytest.raises(ValueError, match='got'):
            EntropyMonitorHook(**kwargs)
    with pytest.raises(ValueError, match='too few'):
        train(
            tmp_path,
            'simsiam',
            'few',
            hook(),
            eval_datasets=dict(test=dict(type='Stripes', size=1)),
        )
    cfg = config(tmp_path, 'simsiam', 'concat')
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[cfg.train_dataloader.dataset]
    )
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match='ConcatDataset, has no pipeline'):
        EntropyMonitorHook().before_train(runner)


def two_ranks(rank, world, folder):
    os.environ['LOCAL_RANK'] = str(rank)
    states = []
    for run, hooks in (('hook', [hook()]), ('plain', [])):
        runner = train(
            folder,
            'mec',
            run,
            *hooks,
            launcher='pytorch',
            model_wrapper_cfg=dict(
                type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None
            ),
        )
        states.append(unwrapped(runner.model).state_dict())
        if hooks:
            found = the_hook(runner)._held_out
            log = (logged(runner), spectra(runner)) if rank == 0 else None
    return states, found, log


@pytest.mark.slow
def test_two_ranks_equal_one_process(tmp_path):
    (tmp_path / 'ranks').mkdir()
    results = on_ranks(partial(two_ranks, folder=tmp_path), 2, tmp_path / 'ranks')
    for (with_hook, plain), _, _ in results:
        for key, value in with_hook.items():
            assert torch.equal(value, plain[key]), key
    scalars, lines = results[0][2]
    assert list(scalars) == [2] and len(lines) == 1
    views = [
        torch.stack([first, second], 1).flatten(0, 1)
        for first, second in zip(results[0][1], results[1][1])
    ]
    # The same images and views as those of one process.
    alone = train(tmp_path, 'mec', 'alone', hook(interval=100))
    for ours, theirs in zip(views, the_hook(alone)._held_out):
        assert torch.equal(ours, theirs)
    alone.model.load_state_dict(results[0][0][0])
    features = monitor.encode(alone.model, views, project=True)
    for part, rows in features.items():
        for key, value in measure(rows)[0].items():
            assert scalars[2][f'monitor/{part}/{key}'] == pytest.approx(
                value, rel=1e-3, abs=1e-3
            ), key
        assert lines[0]['spectrum'][part] == pytest.approx(spectrum(rows[0]).tolist(), abs=1e-4)
    # 6 images of each rank's batch: more than one rank has.
    assert scalars[2]['monitor_train/backbone/lidar'] > 0


# -- Alarms ------------------------------------------------------------------


def healthy(**kwargs):
    return {**dict(feature_std=0.9, feature_length=8.0, rankme=40.0, entropy=0.0), **kwargs}


def looks(alarms, *measurements):
    """What is given after each."""
    given = []
    for found in measurements:
        alarms.look('monitor/backbone', found, 16)
        given.append(alarms.given())
    return given


def test_alarms_wait_and_are_given_once():
    sick = healthy(feature_std=0.001)
    given = looks(Alarms(), sick, sick, healthy(), sick, sick, sick, sick)
    assert [len(warnings) for warnings in given] == [0, 0, 0, 0, 0, 1, 0]
    assert given[5][0].startswith('total collapse: feature_std of monitor/backbone is 0.0010')


@pytest.mark.parametrize(
    'key, low, sick, message',
    [
        ('rankme', 40 * 0.051, 40 * 0.049, 'dimensional collapse'),
        ('entropy', 0.11, 0.09, 'falling entropy'),
        ('feature_std', 0.021, 0.019, 'total collapse'),
        ('feature_length', 8 * 0.051, 8 * 0.049, 'shrinking features'),
    ],
)
def test_alarm_thresholds(key, low, sick, message):
    point = point_entropy(16)
    good = healthy(entropy=point + 1)
    for value, count in ((low, 0), (sick, 1)):
        bad = dict(good, **{key: value + (point if key == 'entropy' else 0)})
        given = looks(Alarms(), good, bad, bad, bad)[-1]
        assert len(given) == count
        assert all(text.startswith(message) for text in given)


def run_that_logged(key, values):
    hub = MessageHub.get_instance(f'alarms_of_{key}_{values}')
    for value in values:
        hub.update_scalar(f'train/{key}', value)
    return SimpleNamespace(message_hub=hub)


@pytest.mark.parametrize(
    'norms, guard, message',
    [
        ([1.1] * 4, False, 'spectral_norm of MEC is 1.1'),
        ([1.1] * 4, True, None),
        ([0.9] * 4, False, None),
        # A single spike is no divergence.
        ([0.5, 0.5, 0.5, 1.2], False, None),
    ],
)
def test_alarms_of_logged_terms(norms, guard, message):
    runner = run_that_logged('spectral_norm', norms)
    model = torch.nn.Module()
    model.loss_module = torch.nn.Module()
    model.loss_module.guard = guard
    alarms = Alarms()
    for _ in range(PATIENCE):
        assert alarms.given() == []
        alarms.look_at_log(runner, model, window=4)
    given = alarms.given()
    assert len(given) == (message is not None)
    assert not given or given[0].startswith(message)


def test_alarm_of_a_loss_that_is_not_finite():
    runner, alarms = run_that_logged('loss', [1.0, float('nan')]), Alarms()
    for count in (1, 0):
        alarms.look_at_log(runner, torch.nn.Module(), window=1)
        given = alarms.given()
        assert len(given) == count
        assert all(text.startswith('train/loss is not finite') for text in given)


def test_alarm_of_dead_prototypes():
    watch = Alarms()
    for entropy, given in ((0.29, 0), (0.31, 0), (0.29, 0), (0.2, 0), (0.25, 1)):
        watch.look('monitor/projector', healthy(assignment_entropy=entropy), 8)
        texts = watch.given()
        assert len(texts) == given
    assert texts[0].startswith(
        'dead prototypes: assignment_entropy of monitor/projector is 0.250 ('
    )


def test_alarm_of_dead_heads():
    """One of three is enough; those that live are not named."""
    found = healthy(head0_target_entropy=0.9, head1_target_entropy=0.21, head2_target_entropy=0.5)
    assert looks(Alarms(), *[found] * 3) == [[], [], []]
    found['head1_target_entropy'] = 0.19
    (text,) = looks(Alarms(), *[found] * 3)[-1]
    assert text.startswith(
        'dead classes: of 3 heads of MinEnt 1 use few, target_entropy 0.190 of head1 ('
    )


def test_alarms_of_both_batches_are_one():
    alarms, sick = Alarms(), healthy(feature_std=0.001)
    for _ in range(3):
        assert alarms.given() == []
        for name in ('monitor_train/backbone', 'monitor/backbone', 'monitor/projector'):
            alarms.look(name, sick, 16)
    first, second = alarms.given()
    assert 'monitor_train/backbone' in first
    assert 'monitor/projector' in second


@pytest.mark.slow
def test_resumed_run_knows_what_was_seen(tmp_path):
    """Highest values, sights and what was reported are in the checkpoint."""
    options = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)))
    cfg = config(tmp_path, 'minent', 'half', hook(interval=1), **options)
    cfg.train_cfg.max_epochs = 1
    first = Runner.from_cfg(cfg)
    first.train()
    state = the_hook(first).alarms.state()
    assert set(state) == {'highest', 'sights', 'reported'}
    # Rank, entropy and length of two parts of two batches.
    assert len(state['highest']) == 12 and state['sights']
    # Goes on without measuring.
    alarms = the_hook(
        train(tmp_path, 'minent', 'half', hook(interval=100), resume=True, **options)
    ).alarms
    assert alarms.state() == state
    # Weights alone, for a new run, bring nothing along.
    other = train(
        tmp_path, 'minent', 'new', hook(interval=100), load_from=str(tmp_path / 'half/epoch_2.pth')
    )
    assert the_hook(other).alarms.highest == {}
    restored = Alarms()
    restored.load(dict(highest=dict(a=1.0), sights=dict(b=2), reported=['c']))
    assert restored.state() == dict(highest=dict(a=1.0), sights=dict(b=2), reported=['c'])


@DATASETS.register_module()
class LabelledStripes(Stripes):
    """Classes of brightness, as many as ``classes``."""

    def __init__(self, classes=2, **kwargs):
        self.classes = classes
        super().__init__(**kwargs)

    def load_data_list(self):
        infos = super().load_data_list()
        order = np.argsort([info['img'].mean() for info in infos])
        for rank, i in enumerate(order):
            infos[i]['gt_label'] = rank * self.classes // len(order)
        return infos


@pytest.mark.slow
def test_neighbours_of_labelled_images(tmp_path):
    """Percent of held-out images that look like others of their class."""
    data = dict(test=dict(type='LabelledStripes', size=40))
    runner = train(
        tmp_path,
        'simsiam',
        'knn',
        hook(images=40),
        log_level='INFO',
        eval_datasets=data,
        # So low a rate that steps do not amplify rounding, which differs between machines.
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-6)),
    )
    found = logged(runner)[4]
    monitored = the_hook(runner)
    labels = torch.tensor(
        [info['gt_label'] for info in LabelledStripes(size=40, pipeline=[]).load_data_list()]
    )
    views = monitor.encode(runner.model, monitored._held_out, project=True)
    for part, rows in views.items():
        assert found[f'monitor/{part}/knn'] == pytest.approx(
            float(leave_one_out_knn(rows[0], labels)), abs=2.6
        )
    # The labels of other images would give 50 % or a little less: of 39 neighbours 19 are of the
    # class. The network, which is as good as fresh, tells 92.5 % of the images, 37 of 40. The bound
    # lies between, ten images from the one and seven from the other.
    assert found['monitor/backbone/knn'] > 75
    assert 'monitor_train/backbone/knn' not in found
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    line = next(line for line in log.splitlines() if 'monitor at iteration 4' in line)
    assert re.search(
        r'4: loss -?\d\.\d{4}; eta 0:00:00; backbone kNN '
        rf'{found["monitor/backbone/knn"]:.1f} %, RankMe',
        line,
    )
    # Fewer than ten of a class say nothing, and neither does a single class.
    for classes in (5, 1):
        data['test']['classes'] = classes
        runner = train(tmp_path, 'simsiam', f'of{classes}', hook(images=40), eval_datasets=data)
        assert 'monitor/backbone/knn' not in logged(runner)[4]


SAME = dict(
    type='Stripes',
    size=16,
    same=True,
    pipeline=[dict(type='MultiView', num_views=[2], transforms=[[]]), dict(type='PackInputs')],
)


@pytest.mark.slow
@pytest.mark.parametrize(
    'kwargs, warned, message',
    [
        # Every image is the same.
        (
            dict(train_dataloader=dict(dataset=SAME), eval_datasets=None),
            3,
            'total collapse: feature_std of monitor/backbone is 0.0000',
        ),
        (
            dict(optim_wrapper=dict(optimizer=dict(lr=1e30))),
            1,
            'monitor/backbone is not finite; lower the learning rate',
        ),
    ],
)
def test_stop_ends_training(tmp_path, kwargs, warned, message):
    for stop, last in ((True, 2 * -(-warned // 2)), (False, 6)):
        cfg = config(
            tmp_path,
            'simsiam',
            f'stop_{stop}',
            hook(interval=1, stop=stop),
            log_level='INFO',
            train_cfg=dict(by_epoch=True, max_epochs=3),
        )
        cfg.merge_from_dict(kwargs)
        runner = Runner.from_cfg(cfg)
        runner.train()
        assert runner.iter == last
        log = next(Path(runner.log_dir).glob('*.log')).read_text()
        assert log.count(message) == 1
        assert f'WARNING - monitor at iteration {warned}: ' in log
        given = {line['iter']: line['alarms'] for line in spectra(runner)}
        assert min(step for step, texts in given.items() if texts) == warned
        assert message in given[warned][0]
        assert all(
            np.isfinite(value) for line in logged(runner).values() for value in line.values()
        )
    if warned > 1:
        assert re.search(
            r'INFO - monitor at iteration 3: loss -?\d\.\d{4}; eta 0:00:\d\d; '
            r'backbone RankMe 1\.0 of 12 images, entropy -50\.00 and ER bound 0\.00 '
            r'nats, std 0\.000; projector RankMe 1\.0 of 12 images, ',
            log,
        )
