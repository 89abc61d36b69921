"""Statistics of the channels of a folder, by function and by command."""

import folder_statistics
import numpy as np
import pytest
import tifffile
from forked import python
from mmengine.config import Config
from PIL import Image
from repository import REPOSITORY

from mmentropy.views import CheckedLoadImageFromFile
from mmentropy.views.statistics import channel_statistics


def bands(folder, count=3, channels=5):
    rng = np.random.default_rng(0)
    images = []
    for i in range(count):
        image = rng.integers(0, 9000, (8 + i, 9, channels), dtype=np.uint16)
        layout = dict(photometric='minisblack', planarconfig='contig')
        tifffile.imwrite(folder / f'{i}.tif', image, **layout)
        images.append(image.reshape(-1, channels).astype(float))
    return np.concatenate(images)


def statistics(folder, color_type='unchanged'):
    paths = [str(path) for path in sorted(folder.iterdir())]
    return channel_statistics(paths, CheckedLoadImageFromFile(color_type=color_type))


@pytest.mark.parametrize('pixels_at_once', [2**22, 30])
def test_statistics_are_those_of_all_pixels(tmp_path, monkeypatch, pixels_at_once):
    monkeypatch.setattr('mmentropy.views.statistics.PIXELS_AT_ONCE', pixels_at_once)
    pixels = bands(tmp_path)
    (tmp_path / 'bad.tif').write_bytes(b'no image')
    found = statistics(tmp_path)
    np.testing.assert_allclose(found.mean, pixels.mean(0))
    np.testing.assert_allclose(found.std, pixels.std(0))
    assert (found.images, found.depth, found.sides) == (3, 'uint16', (8, 10))
    assert len(found.unreadable) == 1 and 'bad.tif' in found.unreadable[0]


def test_what_has_no_statistics(tmp_path):
    (tmp_path / '0.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='no image can be read: .*0.png'):
        statistics(tmp_path)
    rgba = np.full((4, 4, 4), 255, np.uint8)
    rgba[..., :3] = np.random.default_rng(0).integers(0, 256, (4, 4, 3))
    Image.fromarray(rgba).save(tmp_path / '0.png')
    with pytest.raises(ValueError, match='channel 4 of 4 is 255 everywhere'):
        statistics(tmp_path)
    Image.fromarray(rgba[..., 0]).save(tmp_path / '1.png')
    with pytest.raises(ValueError, match=r'0.png has 4 channels of uint8, and .*1.png 1 of uint8'):
        statistics(tmp_path)
    assert len(statistics(tmp_path, 'grayscale').mean) == 1


def test_no_more_images_are_read_than_asked_for(tmp_path, monkeypatch, capsys):
    bands(tmp_path, count=5)
    monkeypatch.setattr('sys.argv', ['folder_statistics.py', str(tmp_path), '--most', '3'])
    folder_statistics.main()
    assert capsys.readouterr().out.startswith('# 3 of 5 images of uint16')


@pytest.mark.slow
def test_command_prints_what_a_config_takes(tmp_path):
    def lines(*args):
        tool = REPOSITORY / 'tools/folder_statistics.py'
        return python(tool, *args).stdout

    pixels = bands(tmp_path)
    cfg = Config.fromstring(lines(tmp_path).replace('Could not import OneDL', ''), '.py')
    assert cfg.model.backbone.in_channels == 5 and cfg.load.color_type == 'unchanged'
    np.testing.assert_allclose(cfg.data_preprocessor.mean, pixels.mean(0), atol=1e-3)
    for path in tmp_path.iterdir():
        path.unlink()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / 'a.png')
    text = lines(tmp_path, '--color-type', 'color').replace('Could not import OneDL', '')
    cfg = Config.fromstring(text, '.py')
    assert cfg.data_preprocessor.to_rgb and cfg.data_preprocessor.mean == [22.5, 23.5, 24.5]
