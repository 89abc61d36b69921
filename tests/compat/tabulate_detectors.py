"""Table of mmdet's detectors that train and predict on the operators of mmentropy.compat.mmcv_ops.

    python tests/compat/tabulate_detectors.py > docs/detectors.md
    python tests/compat/tabulate_detectors.py dyhead guided_anchoring

Of each folder of configs that mmdet installs, the first model by length of its name is built as
it stands but for pretrained weights and SyncBN, makes one step on two images of 128 pixels, and
predicts on them. It takes half an hour on one core.
"""

import multiprocessing
import sys
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import mmentropy  # noqa: F401

# isort: split
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

CONFIGS = Path(register_all_modules.__code__.co_filename).parents[1] / '.mim/configs'
FAMILIES = """
atss autoassign boxinst carafe cascade_rcnn cascade_rpn centernet centripetalnet condinst
conditional_detr cornernet crowddet dab_detr dcn dcnv2 ddod ddq deformable_detr detectors detr dino
double_heads dyhead dynamic_rcnn empirical_attention fast_rcnn faster_rcnn fcos foveabox fpg
free_anchor fsaf gcnet gfl ghm glip grid_rcnn groie grounding_dino guided_anchoring htc lad ld
libra_rcnn mask2former mask_rcnn maskformer ms_rcnn nas_fcos nas_fpn paa pafpn panoptic_fpn pisa
point_rend queryinst reppoints retinanet rpn rtmdet sabl scnet solo solov2 sparse_rcnn ssd tood
tridentnet vfnet yolact yolo yolof yolox
""".split()
# Those whose first config is not the one of the family.
CHOSEN = {
    'nas_fpn': 'retinanet_r50_nasfpn_crop640-50e_coco.py',
    'libra_rcnn': 'libra-faster-rcnn_r50_fpn_1x_coco.py',
    'guided_anchoring': 'ga-faster-rcnn_r50_fpn_1x_coco.py',
    'pisa': 'faster-rcnn_r50_fpn_pisa_1x_coco.py',
    'gcnet': 'mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco.py',
    'rtmdet': 'rtmdet-ins_s_8xb32-300e_coco.py',
    'yolox': 'yolox_s_8xb8-300e_coco.py',
    # The first lacks an argument of its head.
    'cascade_rpn': 'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
    'detectors': 'detectors_htc-r50_1x_coco.py',
}
# At 128 pixels the maps of SSD vanish, and DINO has fewer positions than queries.
SIZES = {'ssd': 300, 'dino': 256}


def config_of(family: str) -> Path:
    """Return the config that stands for a family."""
    if family in CHOSEN:
        return CONFIGS / family / CHOSEN[family]
    files = [file for file in (CONFIGS / family).glob('*.py') if '_tta' not in file.stem]
    return min(files, key=lambda file: (len(file.name), file.name))


def without_weights(part: Any) -> Any:
    """Return a config that loads no file and normalises on one process."""
    if isinstance(part, (list, tuple)):
        return type(part)(without_weights(x) for x in part)
    if not isinstance(part, dict):
        return part
    kept = {key: without_weights(value) for key, value in part.items()}
    if kept.get('type') in ('SyncBN', 'MMSyncBN'):
        kept['type'] = 'BN'
    if isinstance(kept.get('init_cfg'), dict) and 'checkpoint' in kept['init_cfg']:
        kept['init_cfg'] = None
    for key in ('pretrained', 'teacher_ckpt'):
        if key in kept:
            kept[key] = None
    if isinstance(kept.get('teacher_config'), str):
        kept['teacher_config'] = str(CONFIGS / kept['teacher_config'].removeprefix('configs/'))
    if 'score_thr' in kept:
        kept['score_thr'] = 0.0
    return ConfigDict(kept)


def inputs(family: str) -> dict:
    """Return two images with boxes, masks, classes of pixels and captions."""
    size = SIZES.get(family, 128)
    data = demo_mm_inputs(
        2, [[3, size, size]] * 2, num_items=[3, 2], with_mask=True, with_semantic=True
    )
    for sample in data['data_samples']:
        if family == 'fast_rcnn':
            boxes = sample.gt_instances.bboxes.clone()
            sample.proposals = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)))
        sample.text = 'cat. dog.'
        sample.custom_entities = True
        sample.gt_instances.labels %= 2
    return data


def trial(family: str, path: Path) -> tuple[str, str]:
    """Return yes or no for training and prediction, the latter with its reason."""
    done = []
    try:
        model = MODELS.build(without_weights(Config.fromfile(path).model))
        model.init_weights()
        data = inputs(family)
        losses = model(**model.data_preprocessor(data, True), mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
        torch.optim.SGD(model.parameters(), 1e-4).step()
        if not loss.isfinite():
            raise FloatingPointError('the loss is not finite')
        done.append('yes')
        # Guided anchoring predicts on one image at a time.
        one = {key: value[:1] for key, value in inputs(family).items()}
        with torch.no_grad():
            samples = model.eval()(**model.data_preprocessor(one, False), mode='predict')
        assert len(samples) == 1
        return 'yes', 'yes'
    except Exception as error:
        print(traceback.format_exc(), file=sys.stderr)
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:160].replace('|', '/')
        return (*done, f'no: {reason}', '')[:2]


def main(families: list[str]) -> None:
    """Print the table."""
    warnings.simplefilter('ignore')
    MMLogger.get_instance('trial', log_level='ERROR')
    # The losses of some warm up by them.
    MessageHub.get_current_instance().update_info_dict(dict(iter=0, epoch=0))
    register_all_modules(init_default_scope=False)
    names = 'onedl-mmdetection onedl-mmcv torch torchvision'.split()
    versions = ', '.join(f'{name} {version(name)}' for name in names)
    print(f'# Detectors of mmdet\n\nOn the CPU, {date.today()}, {versions}. Made by\n')
    print('`python tests/compat/tabulate_detectors.py`, which says what was tried.\n')
    print('| family | config | trains | predicts |\n|---|---|---|---|', flush=True)
    with DefaultScope.overwrite_default_scope('mmdet'):
        for family in families:
            torch.manual_seed(0)
            path = config_of(family)
            # One that is killed for its memory takes only its own process with it.
            with ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool:
                try:
                    trains, predicts = pool.submit(trial, family, path).result()
                except BrokenProcessPool:
                    trains, predicts = 'no: the process was killed', ''
            print(f'| {family} | `{path.stem}` | {trains} | {predicts} |', flush=True)


if __name__ == '__main__':
    main(sys.argv[1:] or FAMILIES)
