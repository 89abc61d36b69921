"""Labelled data sets that cannot be scored are refused by their first image."""

from types import SimpleNamespace

import pytest
from messages import one_line
from mmengine.config import Config
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.models import ClsDataPreprocessor, SelfSupDataPreprocessor
from mmpretrain.registry import DATASETS
from PIL import Image
from small_images import PACK, digits_config

from mmentropy.engine.held_out_loop import HeldOutLoop
from mmentropy.engine.hooks.knn_during_training import KNNHook
from mmentropy.evaluation import build_knn_data
from mmentropy.evaluation.labelled import build_labelled, check_labelled
from mmentropy.evaluation.protocols import Evaluation
from mmentropy.views.preprocessor import PerChannelPreprocessor

LOAD = dict(type='CheckedLoadImageFromFile')
TO_RGB = [dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy')]


@DATASETS.register_module()
class SeveralPerImage(MultiLabelDataset):
    """Images of several classes, which list what is difficult."""

    METAINFO = dict(classes=('a', 'b'))

    def load_data_list(self):
        return [
            dict(img_path=self.data_root, gt_label=[0, 1], gt_label_difficult=[]) for _ in range(4)
        ]


@pytest.fixture
def folders(tmp_path):
    """Return a function that gives the config of two classes of two images each."""

    def entry(split, type='ClassFolders', steps=()):
        for name in 'ab':
            (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(2):
                image = Image.new('RGB', (4, 4), (60 * i, len(split), ord(name)))
                image.save(tmp_path / split / name / f'{i}.png')
        return dict(type=type, data_root=str(tmp_path / split), pipeline=[LOAD, *steps, *PACK])

    return entry


def several(folders, pack=PACK):
    root = folders('train')['data_root']
    entry = dict(type='SeveralPerImage', ann_file='', data_root=f'{root}/a/0.png')
    return dict(entry, pipeline=[LOAD, *pack])


def test_knn_asks_for_one_label_of_each_image(folders):
    test = folders('test')
    assert [*map(len, build_knn_data(folders('train'), test, 2))] == [4, 4]
    for train, message in (
        (folders('train', 'ImageFolder'), 'data set ImageFolder lacks labels'),
        (several(folders), 'SeveralPerImage has several labels per image, which kNN cannot score'),
        (dict(test, data_root='nowhere'), 'ClassFolders in .*nowhere: the folder is missing'),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            build_knn_data(train, test, 2)
        assert one_line(error)


def test_knn_asks_for_the_colours_of_training(folders):
    bgr, rgb = (folders('train'), folders('test')), folders('test', steps=TO_RGB)
    message = 'ClassFolders gives {}, but the network is trained on {}: convert in its pipeline'
    with pytest.raises(ValueError, match=message.format('RGB', 'BGR')) as error:
        build_knn_data(bgr[0], rgb, 2)
    assert one_line(error)
    cfg = Config(
        dict(eval_datasets=dict(train=bgr[0], test=bgr[1]), train_dataloader=dict(dataset=rgb))
    )
    runner = SimpleNamespace(train_loop=None, cfg=cfg, hooks=[], model=None)
    for measured in (
        lambda: KNNHook(k=2).before_train(runner),
        lambda: HeldOutLoop(runner, SimpleNamespace(), k=2),
    ):
        with pytest.raises(ValueError, match=message.format('BGR', 'RGB')):
            measured()


@pytest.mark.parametrize(
    'preprocessor', [PerChannelPreprocessor, SelfSupDataPreprocessor, ClsDataPreprocessor]
)
def test_without_training_data_the_preprocessor_tells_the_colours(preprocessor, folders):
    """The checkpoint of an imported backbone does not say what images it was trained on."""

    def check(entry, preprocessor):
        check_labelled(DATASETS.build(entry), entry, None, ['kNN'], preprocessor)

    bgr, rgb = folders('train'), folders('test', steps=TO_RGB)
    unchanged = dict(rgb, pipeline=[dict(LOAD, color_type='unchanged'), *PACK])
    gray = dict(rgb, pipeline=[dict(LOAD, color_type='grayscale'), *PACK])
    values = dict(mean=[100.0] * 3, std=[50.0] * 3)
    turning, plain = preprocessor(**values, to_rgb=True), preprocessor(**values)
    message = 'ClassFolders gives {}, but the network is trained on {}: convert'
    for entry in (rgb, unchanged):
        with pytest.raises(ValueError, match=message.format('RGB', 'BGR')):
            check(entry, turning)
        check(entry, plain)
    with pytest.raises(ValueError, match=message.format('BGR', 'RGB')):
        check(bgr, plain)
    check(bgr, turning)
    check(gray, preprocessor(mean=[100.0], std=[50.0]))


def test_colours_of_parts_and_of_steps_within_steps(folders):
    """Data sets that are put together have the colours of one, and views those of the first."""
    train, test = folders('train'), folders('test')
    whole = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[train, test]))
    build_labelled(test, whole, ['kNN'])
    views = dict(type='MultiView', num_views=[1, 1], transforms=[[*TO_RGB], [*TO_RGB]])
    with pytest.raises(ValueError, match='gives BGR, but the network is trained on RGB'):
        build_labelled(test, dict(train, pipeline=[LOAD, views, *PACK]), ['kNN'])


def test_difficult_labels_must_be_packed_before_anything_is_encoded(folders):
    with pytest.raises(ValueError, match='SeveralPerImage lists difficult objects'):
        build_labelled(several(folders), None, ['svm'])
    pack = dict(type='PackInputs', meta_keys=('gt_label_difficult',))
    assert len(build_labelled(several(folders, [pack]), None, ['svm'])) == 4


def test_few_shots_of_rows_without_a_label():
    """A row that comes later than the first one may lack its label."""
    cfg = digits_config()
    cfg.eval_datasets.train.type = 'PartlyLabelled'
    with pytest.raises(ValueError, match='PartlyLabelled lacks labels .* of 150 of 200 images'):
        Evaluation(cfg, ['lowshot'])


@DATASETS.register_module()
class PartlyLabelled(DATASETS.get('Digits')):
    """Digits of which only the first fifty have a label."""

    def load_data_list(self):
        rows = super().load_data_list()
        for row in rows[50:]:
            del row['gt_label']
        return rows
