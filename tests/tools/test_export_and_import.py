"""tools/export.py and tools/import_official.py."""

import runpy
import sys

import pytest
from exported import TINY_VIT, built, loaded, read, with_teacher


def test_commands(tmp_path, monkeypatch, capsys):
    def run(tool, *args):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        runpy.run_path(f'tools/{tool}', run_name='__main__')
        return capsys.readouterr().out

    path = with_teacher(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    metrics, out = tmp_path / 'results.json', tmp_path / 'out.safetensors'
    metrics.write_text('{"checkpoint": {"knn": 98.4}}')
    config = tmp_path / 'config.py'
    config.write_text(f'model = dict(backbone={TINY_VIT!r})\n')
    line = run(
        'export.py',
        path,
        '--to',
        'timm',
        '--out',
        out,
        '--branch',
        'teacher',
        '--metrics',
        metrics,
        '--config',
        config,
    )
    # The log may stand before it.
    assert loaded(line.strip().splitlines()[-1])
    meta = read(out)[1]
    assert meta['branch'] == 'teacher' and '98.4' in meta['metrics']
    assert 'ViT of 2 blocks' in run('import_official.py', out, '--out', tmp_path / 'back.pth')
    metrics.write_text('98.4 %')
    for args, message in [
        (
            ('export.py', path, '--to', 'timm', '--out', out, '--metrics', metrics),
            'error: --metrics: .* is no JSON',
        ),
        (
            ('export.py', path, '--to', 'mmdet', '--out', tmp_path / 'a.pth'),
            'error: mmdet gets a ResNet',
        ),
        (
            ('import_official.py', metrics, '--out', tmp_path / 'a.pth'),
            'error: .* is no checkpoint of torch',
        ),
    ]:
        with pytest.raises(SystemExit, match=message) as error:
            run(*args)
        assert '\n' not in str(error.value)
