"""Backbones in from other libraries, and files that are refused."""

import copy

import numpy as np
import pytest
import safetensors.torch
import torch
from exported import (
    TINY_VIT,
    bare,
    built,
    loaded,
    new_resnet,
    output,
    read,
    refused,
    saved,
    vit,
)
from harmful_pickle import Harmful
from PIL import Image
from torchvision.transforms.functional import normalize

from mmentropy.evaluation.embed_folder import embed_checkpoint
from mmentropy.evaluation.embedding_file import read_embedding
from mmentropy.weights.export import export_backbone
from mmentropy.weights.import_official import import_backbone
from mmentropy.weights.stored_config import config_of


def test_imported_backbones_are_exported(tmp_path):
    """The config that import writes is enough for export."""
    net = vit()
    torch.save(net.state_dict(), tmp_path / 'timm.pth')
    import_backbone(tmp_path / 'timm.pth', tmp_path / 'ours.pth')
    line = export_backbone(tmp_path / 'ours.pth', 'timm', tmp_path / 'b.pth')
    torch.testing.assert_close(output(loaded(line)), output(bare(net)), atol=1e-5, rtol=0)


def test_an_imported_network_takes_the_images_that_it_was_trained_on(tmp_path):
    """It is embedded as torchvision does it: RGB in [0, 1], less the mean, over the deviation."""
    net = new_resnet().eval()
    torch.save(net.state_dict(), tmp_path / 'theirs.pth')
    line = import_backbone(tmp_path / 'theirs.pth', tmp_path / 'ours.pth')
    assert line.endswith('; images normalised as ImageNet')
    # Data sets of files give BGR, which tools/evaluate.py passes on.
    assert config_of(tmp_path / 'ours.pth').data_preprocessor.to_rgb is True
    (tmp_path / 'photos').mkdir()
    red = np.random.default_rng(0).integers(0, 256, (32, 32, 3)) * [1, 0.2, 0]
    Image.fromarray(red.astype(np.uint8)).save(tmp_path / 'photos/red.png')
    embed_checkpoint(tmp_path / 'ours.pth', tmp_path / 'photos', tmp_path / 'a.npz', size=32)
    image = normalize(
        torch.from_numpy(red.astype(np.uint8)).permute(2, 0, 1) / 255,
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
    )
    copied = copy.deepcopy(net)
    copied.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = copied(image[None]).numpy()
    np.testing.assert_allclose(read_embedding(tmp_path / 'a.npz').features, expected, atol=1e-4)


def test_how_images_of_a_bare_vit_are_normalised_is_asked_for(tmp_path):
    torch.save(vit().state_dict(), tmp_path / 'timm.pth')
    line = import_backbone(tmp_path / 'timm.pth', tmp_path / 'ours.pth')
    assert 'images of unknown normalisation' in line
    with pytest.raises(ValueError, match='neither how images are normalised nor'):
        embed_checkpoint(tmp_path / 'ours.pth', tmp_path, tmp_path / 'a.npz', size=32)


def test_heads_of_a_vit_are_chosen(tmp_path):
    """Weights do not show them, and the network computes the same with the right number only."""
    net, path, out = vit(num_heads=4), tmp_path / 'timm.pth', tmp_path / 'ours.pth'
    new = tmp_path / 'new.pth'
    torch.save(net.state_dict(), path)
    assert '1 heads assumed, see --num-heads' in import_backbone(path, out)
    assert '4 heads;' in import_backbone(path, out, num_heads=4)
    line = export_backbone(out, 'timm', tmp_path / 'b.pth')
    torch.testing.assert_close(output(loaded(line)), output(bare(net)), atol=1e-5, rtol=0)
    torch.save(new_resnet().state_dict(), tmp_path / 'resnet.pth')
    for source, heads, message in [
        (path, 5, 'must divide the width of the ViT, 64, got 5'),
        (path, 0, 'must divide'),
        (tmp_path / 'resnet.pth', 4, 'it is a ResNet'),
        (tmp_path / 'b.pth', 4, 'its config is stored'),
    ]:
        refused(
            lambda source=source, heads=heads: import_backbone(source, new, num_heads=heads),
            ValueError,
            message,
            new,
        )


def without(state, *starts):
    return {k: v for k, v in state.items() if not k.startswith(starts)}


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda s: {f'trunk.{k}': v for k, v in s.items()},
            r'no known layout: its first keys are trunk.conv1.weight, .*'
            r'MEC \(encoder.\*\).*MoCo v3 \(base_encoder.\*\)',
        ),
        (lambda s: {}, 'no known layout: its first keys are none'),
        (
            lambda s: without(s, 'layer3.', 'layer4.'),
            r'\(2, 2, 0, 0\) blocks, which is no ResNet of depth 18, 34',
        ),
        (lambda s: without(s, 'layer1.', 'layer2.'), 'blocks, which is no ResNet'),
        (lambda s: without(s, 'layer2.1.'), 'blocks, which is no ResNet'),
        (
            lambda s: without(s, 'layer2.0.bn2.running_var'),
            'no plain ResNet-18: layer2.0.bn2.running_var is missing',
        ),
        (lambda s: without(s, 'layer1.0.conv1.weight'), 'is incomplete: layer1.0'),
        (lambda s: dict(s, **{'layer2.0.extra': torch.zeros(1)}), 'layer2.0.extra is unexpected'),
        (
            lambda s: dict(s, **{'layer5.0.conv1.weight': torch.zeros(1)}),
            'layer5.0.conv1.weight is unexpected',
        ),
        (
            lambda s: dict(s, **{'layer2.0.conv1.weight': torch.zeros(9, 64, 3, 3)}),
            r'is \(9, 64, 3, 3\) instead of \(128, 64, 3, 3\)',
        ),
        (
            lambda s: dict(s, **{'conv1.weight': torch.zeros(64)}),
            r'conv1.weight is \(64,\), which are not 4 dimensions',
        ),
    ],
)
def test_what_is_no_resnet_is_refused(tmp_path, change, message):
    path, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    torch.save(change(new_resnet().state_dict()), path)
    refused(lambda: import_backbone(path, out), ValueError, message, out)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s: without(s, 'blocks.0.'), 'is incomplete|is missing'),
        (lambda s: without(s, 'cls_token'), 'cls_token is missing'),
        (lambda s: without(s, 'pos_embed'), 'incomplete: pos_embed is missing'),
        (lambda s: dict(s, pos_embed=torch.zeros(1, 16, 64)), 'pos_embed is'),
        (lambda s: dict(s, dist_token=torch.zeros(1)), 'dist_token is unexp'),
    ],
)
def test_what_is_no_vit_is_refused(tmp_path, change, message):
    path, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    torch.save(change(vit().state_dict()), path)
    refused(lambda: import_backbone(path, out), ValueError, message, out)


def test_a_network_larger_than_its_file_is_refused(tmp_path):
    """One tensor of many channels asks for a network of 700 MB."""
    state = {f'layer{i}.{j}.bn1.weight': torch.zeros(1) for i in range(1, 5) for j in range(2)}
    state |= {'conv1.weight': torch.zeros(64, 3, 1, 1), 'bn1.weight': torch.zeros(64)}
    state |= {'layer1.0.conv1.weight': torch.zeros(256, 1, 1, 1)}
    path, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    torch.save(state, path)
    refused(lambda: import_backbone(path, out), ValueError, 'larger than the checkpoint', out)


def test_damaged_and_harmful_files(tmp_path):
    net, out, marker = vit(), tmp_path / 'out.pth', tmp_path / 'marker'
    good = tmp_path / 'good.safetensors'
    safetensors.torch.save_file(net.state_dict(), good)
    import_backbone(good, out)
    out.unlink()
    torch.save(net.state_dict(), tmp_path / 'good.pth')
    for suffix in ('pth', 'safetensors'):
        whole = (tmp_path / f'good.{suffix}').read_bytes()
        for content in (whole[: len(whole) // 2], b'not a file\n', b''):
            path = tmp_path / f'bad.{suffix}'
            path.write_bytes(content)
            refused(
                lambda path=path: import_backbone(path, out),
                ValueError,
                'no checkpoint of torch|no file of safetensors',
                out,
            )
        refused(
            lambda path=path: import_backbone(f'no.{path.suffix}', out),
            FileNotFoundError,
            'does not exist',
            out,
        )
    for suffix in ('pth', 'safetensors'):
        path = tmp_path / f'harmful.{suffix}'
        torch.save(dict(net.state_dict(), hook=Harmful(marker)), path)
        refused(
            lambda path=path: import_backbone(path, out),
            ValueError,
            'it holds posix.mkdir|no file of safetensors',
            out,
        )
    assert not marker.exists()
    # The file does harm where it is trusted.
    torch.load(tmp_path / 'harmful.pth', weights_only=False)
    assert marker.exists()
    for call, message in [
        (dict(out=tmp_path / 'out.safetensors'), r'written to a file \*.pth'),
        (dict(out=tmp_path / 'no' / 'out.pth'), 'no folder .* write out.pth'),
        (dict(path=tmp_path / 'good.pth', out=tmp_path / 'good.pth'), 'is the checkpoint itself'),
        (dict(out=out, branch='ema'), "'student' or 'teacher', got 'ema'"),
    ]:
        call = dict(dict(path=good), **call)
        refused(lambda call=call: import_backbone(**call), ValueError, message, out)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_changed_exports_are_noticed(tmp_path, suffix):
    path = saved(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    file, out = tmp_path / f'out.{suffix}', tmp_path / 'back.pth'
    export_backbone(path, 'timm', file)
    weights, meta = read(file)
    weights['blocks.1.mlp.fc2.bias'][3] += 1e-6
    if suffix == 'pth':
        torch.save(dict(state_dict=weights, meta=meta), file)
    else:
        safetensors.torch.save_file(weights, file, meta)
    refused(lambda: import_backbone(file, out), ValueError, 'was changed: .*sha256', out)
