"""Folders for transformers, read by a transcription and by the real one."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from exported import (
    BACKBONES,
    IMAGE,
    TINY_VIT,
    built,
    output,
    read,
    refused,
    saved,
    shaken,
    with_teacher,
)
from mmpretrain.registry import MODELS
from torch import nn

from mmentropy.weights.exchange_files import sha256
from mmentropy.weights.export import export_backbone

NAMES = ('r18', 'r50', 'vit_s', 'tiny')
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
FILES = ['config.json', 'model.safetensors', 'preprocessor_config.json']


def conv_bn(channels, width, kernel, stride=1):
    return nn.ModuleDict(
        dict(
            convolution=nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
            normalization=nn.BatchNorm2d(width),
        )
    )


def conv_bn_out(layer, x):
    return layer['normalization'](layer['convolution'](x))


class ResNetBlock(nn.Module):
    def __init__(self, channels, width, stride, bottleneck):
        super().__init__()
        if channels != width or stride != 1:
            self.shortcut = conv_bn(channels, width, 1, stride)
        if bottleneck:
            layers = [
                conv_bn(channels, width // 4, 1),
                conv_bn(width // 4, width // 4, 3, stride),
                conv_bn(width // 4, width, 1),
            ]
        else:
            layers = [conv_bn(channels, width, 3, stride), conv_bn(width, width, 3)]
        self.layer = nn.ModuleList(layers)

    def forward(self, x):
        out = x
        for i, layer in enumerate(self.layer):
            out = conv_bn_out(layer, out if i == 0 else out.relu())
        if hasattr(self, 'shortcut'):
            x = conv_bn_out(self.shortcut, x)
        return (out + x).relu()


class ResNet(nn.Module):
    """A transcription of models/resnet/modeling_resnet.py in transformers 4.57.6.

    It takes those fields of config.json that our exports have.
    """

    def __init__(self, depths, hidden_sizes, layer_type):
        super().__init__()
        self.embedder = nn.ModuleDict(dict(embedder=conv_bn(3, 64, 7, 2)))
        stages, channels = [], 64
        for i, (depth, width) in enumerate(zip(depths, hidden_sizes)):
            blocks = []
            for j in range(depth):
                stride = 2 if i and not j else 1
                blocks.append(ResNetBlock(channels, width, stride, layer_type == 'bottleneck'))
                channels = width
            stages.append(nn.ModuleDict(dict(layers=nn.Sequential(*blocks))))
        self.encoder = nn.ModuleDict(dict(stages=nn.ModuleList(stages)))

    def forward(self, image):
        x = conv_bn_out(self.embedder['embedder'], image).relu()
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.encoder['stages']:
            x = stage['layers'](x)
        return x.mean((2, 3))


def nested(**linears):
    """Return a tree of modules; a keyword ``a__b`` puts one at ``a.b``."""
    tree = nn.ModuleDict()
    for name, module in linears.items():
        *path, last = name.split('__')
        place = tree
        for part in path:
            if part not in place:
                place[part] = nn.ModuleDict()
            place = place[part]
        place[last] = module
    return tree


class ViT(nn.Module):
    """A transcription of models/vit/modeling_vit.py in transformers 4.57.6."""

    def __init__(
        self,
        hidden_size,
        num_hidden_layers,
        num_attention_heads,
        intermediate_size,
        image_size,
        patch_size,
        layer_norm_eps,
        pooler_act,
    ):
        super().__init__()
        assert pooler_act == 'linear'
        self.heads, self.eps, width = num_attention_heads, layer_norm_eps, hidden_size
        norms = dict(normalized_shape=width, eps=layer_norm_eps)
        self.embeddings = nn.Module()
        self.embeddings.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.embeddings.position_embeddings = nn.Parameter(
            torch.empty(1, 1 + (image_size // patch_size) ** 2, width)
        )
        self.embeddings.patch_embeddings = nn.ModuleDict(
            dict(projection=nn.Conv2d(3, width, patch_size, patch_size))
        )
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(
            nested(
                attention__attention__query=nn.Linear(width, width),
                attention__attention__key=nn.Linear(width, width),
                attention__attention__value=nn.Linear(width, width),
                attention__output__dense=nn.Linear(width, width),
                intermediate__dense=nn.Linear(width, intermediate_size),
                output__dense=nn.Linear(intermediate_size, width),
                layernorm_before=nn.LayerNorm(**norms),
                layernorm_after=nn.LayerNorm(**norms),
            )
            for _ in range(num_hidden_layers)
        )
        self.layernorm = nn.LayerNorm(**norms)
        self.pooler = nn.ModuleDict(dict(dense=nn.Linear(width, width)))

    def attend(self, layer, x):
        q, k, v = (
            layer['attention'][name](x).unflatten(2, (self.heads, -1))
            for name in ('query', 'key', 'value')
        )
        scores = torch.einsum('bihc,bjhc->bhij', q, k) / q.size(-1) ** 0.5
        out = torch.einsum('bhij,bjhc->bihc', scores.softmax(-1), v)
        return layer['output']['dense'](out.flatten(2))

    def forward(self, image):
        x = self.embeddings.patch_embeddings['projection'](image)
        token = self.embeddings.cls_token.expand(len(image), -1, -1)
        x = torch.cat([token, x.flatten(2).transpose(1, 2)], 1)
        x = x + self.embeddings.position_embeddings
        for layer in self.encoder.layer:
            x = x + self.attend(layer['attention'], layer['layernorm_before'](x))
            hidden = layer['intermediate']['dense'](layer['layernorm_after'](x))
            x = x + layer['output']['dense'](F.gelu(hidden))
        return self.pooler['dense'](self.layernorm(x)[:, 0])


def saved_with_statistics(net, path, entry):
    """Write a checkpoint like ``saved``, whose config has mean and std."""
    file = torch.load(saved(net, path, entry))
    file['meta']['cfg'] += (
        "data_preprocessor = dict(type='SelfSupDataPreprocessor', "
        f'mean={MEAN}, std={STD}, to_rgb=True)\n'
    )
    torch.save(file, path)
    return path


def exported(name, folder, **kwargs):
    """Return (backbone, folder of its export, printed line)."""
    net, out = built(name), folder / 'out'
    path = saved_with_statistics(net, folder / 'epoch_1.pth', BACKBONES[name])
    return net, out, export_backbone(path, 'huggingface', out, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_transcription_computes_the_same(tmp_path, name):
    net, out, _ = exported(name, tmp_path, metrics=dict(knn=98.4))
    weights, meta = read(out / 'model.safetensors')
    assert meta['sha256'] == sha256(weights)
    assert json.loads(meta['metrics']) == dict(knn=98.4)
    assert (meta['format'], meta['target'], meta['branch']) == ('pt', 'huggingface', 'student')
    config = json.loads((out / 'config.json').read_text())
    kind = config.pop('model_type')
    assert config.pop('architectures') == [dict(resnet='ResNetModel', vit='ViTModel')[kind]]
    other = dict(resnet=ResNet, vit=ViT)[kind](**config)
    other.load_state_dict(weights)
    expected = output(net)
    assert expected.std() > 0.05
    torch.testing.assert_close(output(other.eval()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('name', NAMES)
def test_transformers_computes_the_same(tmp_path, name):
    """It is loaded as printed, and its images are those of the checkpoint."""
    transformers = pytest.importorskip('transformers')
    net, out, line = exported(name, tmp_path)
    assert line == f'transformers.AutoModel.from_pretrained({str(out)!r})'
    other, info = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    config = json.loads((out / 'config.json').read_text())
    assert type(other).__name__ == config['architectures'][0]
    with torch.no_grad():
        found = other(IMAGE).pooler_output.flatten(1)
    torch.testing.assert_close(found, output(net), atol=1e-5, rtol=0)

    side = config.get('image_size', 224)
    image = torch.randint(256, (3, side, side), dtype=torch.uint8)
    images = transformers.AutoImageProcessor.from_pretrained(out)(
        image, return_tensors='pt'
    ).pixel_values
    mean, std = (torch.tensor(x)[:, None, None] for x in (MEAN, STD))
    torch.testing.assert_close(images[0], (image - mean) / std, atol=1e-5, rtol=0)


def test_preprocessor(tmp_path):
    """Mean and std are those of the checkpoint, scaled to 0 to 1; without them there is no file."""
    for name, side in (('tiny', 32), ('r18', 224)):
        (tmp_path / name).mkdir()
        _, out, _ = exported(name, tmp_path / name)
        assert json.loads((out / FILES[2]).read_text()) == dict(
            image_processor_type='BitImageProcessor',
            size=dict(shortest_edge=side),
            crop_size=dict(height=side, width=side),
            image_mean=pytest.approx([0.485, 0.456, 0.406]),
            image_std=pytest.approx([0.229, 0.224, 0.225]),
        )
    path = saved(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    export_backbone(path, 'huggingface', out)
    # The file of the earlier export is gone.
    assert sorted(p.name for p in out.iterdir()) == FILES[:2]
    assert json.loads((out / FILES[0]).read_text())['model_type'] == 'vit'


def test_sides_of_images_and_patches(tmp_path):
    entry = dict(TINY_VIT, img_size=(32, 64), patch_size=(8, 16))
    net, out = shaken(MODELS.build(entry)), tmp_path / 'out'
    path = saved_with_statistics(net, tmp_path / 'epoch_1.pth', entry)
    export_backbone(path, 'huggingface', out)
    config, images = (json.loads((out / FILES[i]).read_text()) for i in (0, 2))
    assert (config['image_size'], config['patch_size']) == ([32, 64], [8, 16])
    # No image is smaller than its crop.
    assert images['size'] == dict(shortest_edge=64)
    assert images['crop_size'] == dict(height=32, width=64)


def test_teacher(tmp_path):
    path = with_teacher(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    export_backbone(path, 'huggingface', tmp_path / 'a')
    export_backbone(path, 'huggingface', tmp_path / 'b', branch='teacher')
    (student, _), (teacher, meta) = (
        read(tmp_path / folder / 'model.safetensors') for folder in 'ab'
    )
    assert meta['branch'] == 'teacher'
    for key, value in student.items():
        same = value if key.startswith('pooler.') else -value
        assert torch.equal(teacher[key], same), key


@pytest.mark.parametrize(
    'entry, message',
    [
        (BACKBONES['r18s'], r'ResNet_CIFAR.*conv1.weight is \(8, 3, 3, 3'),
        (dict(type='ResNet', depth=18, in_channels=1), r'\(64, 1, 7, 7'),
        (dict(type='ResNet', depth=50, style='caffe'), 'outputs'),
        (dict(TINY_VIT, norm_cfg=dict(type='LN', eps=1e-5)), 'outputs'),
        (dict(TINY_VIT, qkv_bias=False), 'qkv.bias is missing'),
        (dict(TINY_VIT, with_cls_token=False, out_type='avg_featmap'), 'cls_tok'),
    ],
)
def test_what_transformers_cannot_hold_is_refused(tmp_path, entry, message):
    path = saved(MODELS.build(entry), tmp_path / 'epoch_1.pth', entry)
    out = tmp_path / 'out'
    refused(
        lambda: export_backbone(path, 'huggingface', out),
        ValueError,
        f'huggingface has no such.*{message}',
        out,
    )


def test_a_link_to_a_folder_is_followed(tmp_path):
    path = saved(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    folder, link = tmp_path / 'folder', tmp_path / 'link'
    folder.mkdir()
    link.symlink_to(folder)
    for _ in range(2):
        export_backbone(path, 'huggingface', link)
        assert link.is_symlink() and link.resolve() == folder
        assert sorted(p.name for p in folder.iterdir()) == FILES[:2]


def test_where_it_is_written(tmp_path, monkeypatch):
    """An export is written to a folder of its own, whole or not at all."""
    path = saved(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    file = tmp_path / 'file'
    file.write_text('mine')
    for out, message in [
        (tmp_path / 'a.safetensors', 'written to a folder, got .*a.safet'),
        (file, 'huggingface is written to a folder'),
        (tmp_path, 'holds epoch_1.pth, which is not of an export'),
        (tmp_path / 'no' / 'out', 'no folder .*/no to write out to'),
    ]:
        refused(lambda out=out: export_backbone(path, 'huggingface', out), ValueError, message)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['epoch_1.pth', 'file']
    out = tmp_path / 'resnet-v1.0'
    out.mkdir()
    export_backbone(path, 'huggingface', out)
    assert sorted(p.name for p in out.iterdir()) == FILES[:2]

    assert len({p.stat().st_mode for p in out.iterdir()}) == 1

    def full(self, text):
        self.write_bytes(b'half')
        raise OSError('No space left on device')

    before = (out / FILES[1]).read_bytes()
    monkeypatch.setattr(Path, 'write_text', full)
    for folder in (out, tmp_path / 'new'):
        with pytest.raises(OSError, match='No space left'):
            export_backbone(path, 'huggingface', folder)
    assert (out / FILES[1]).read_bytes() == before
    assert not (tmp_path / 'new').exists()
    assert not list(tmp_path.glob('.*'))
