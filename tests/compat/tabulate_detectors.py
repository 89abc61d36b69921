"""Table of mmdet's detectors that train and predict on the operators of mmentropy.compat.mmcv_ops.

    python tests/compat/tabulate_detectors.py > docs/detectors.md
    python tests/compat/tabulate_detectors.py dyhead guided_anchoring

Of each folder of configs that mmdet installs, the first model by length of its name is built as it
stands but for pretrained weights, SyncBN, layers of ResNets beyond 50, and most regions. It makes
one step on two images of 128 pixels, or a clip of two frames, and predicts on one. Each has a
process of its own, with 16 GiB and three minutes of a processor. It takes ten minutes on one core.
"""

import multiprocessing
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import mmentropy  # noqa: F401

# isort: split
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs, demo_track_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

CONFIGS = Path(register_all_modules.__code__.co_filename).parents[1] / '.mim/configs'
SECONDS, BYTES = 180, 16 * 2**30
NEEDS_BERT = 'needs transformers and the weights of BERT'
# Folders without a detector of their own, or without one that images and boxes can train; with the
# reason.
NOT_TRIED = {
    'clrnet': 'detects lanes, which are trained on lines; its operator, line_nms, is served',
    'common': 'parts of other configs',
    'deepsort': 'a tracker that does not train; its detector is that of faster_rcnn',
    'glip': NEEDS_BERT,
    'grounding_dino': NEEDS_BERT,
    'mm_grounding_dino': NEEDS_BERT,
    'reid': 'classifies crops of persons, and detects nothing',
    'soft_teacher': 'trains faster_rcnn on labelled and unlabelled images, three branches a batch',
}
# Failures that are no fault of the operators, by a part of their message.
FAULTS = {
    "no attribute 'loss_cls'": 'open-mmlab/mmdetection#11063',
    'upper bound and lower bound': 'the untrained network puts every box outside of the image, '
    'which mmdet cannot paste',
    'install Detectron2': 'another library',
}
HEAD = """# Detectors of mmdet

On the CPU, {date}, {versions}, by
`python tests/compat/tabulate_detectors.py`. A family is tried by one config with random weights: it
*trains* if it makes a step on small images, and *predicts* if it makes one prediction.

| family | config | trains | predicts |
|---|---|---|---|"""
# Those whose first config is not the one of the family.
CHOSEN = {
    'nas_fpn': 'retinanet_r50_nasfpn_crop640-50e_coco.py',
    'libra_rcnn': 'libra-faster-rcnn_r50_fpn_1x_coco.py',
    'guided_anchoring': 'ga-faster-rcnn_r50_fpn_1x_coco.py',
    'pisa': 'faster-rcnn_r50_fpn_pisa_1x_coco.py',
    'gcnet': 'mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco.py',
    'rtmdet': 'rtmdet-ins_s_8xb32-300e_coco.py',
    'yolox': 'yolox_s_8xb8-300e_coco.py',
    # The first inherits from a file that is not there.
    'sort': 'faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py',
    # The first lacks an argument of its head.
    'cascade_rpn': 'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
    'detectors': 'detectors_htc-r50_1x_coco.py',
    'qdtrack': 'qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py',
}
# At 128 pixels the maps of SSD vanish, and DINO has fewer positions than queries.
SIZES = {'ssd': 300, 'legacy_1.x': 300, 'openimages': 300, 'pascal_voc': 300, 'wider_face': 300}
SIZES |= {'dino': 256, 'v3det': 256}
# These train on clips; ByteTrack and OC-SORT train on images, and predict on clips.
CLIPS = ('mask2former_vis', 'masktrack_rcnn', 'qdtrack')
TRACKS = (*CLIPS, 'bytetrack', 'ocsort')


def config_of(family: str) -> Path:
    """Return the config that stands for a family."""
    if family in CHOSEN:
        return CONFIGS / family / CHOSEN[family]
    files = [file for file in (CONFIGS / family).glob('*.py') if '_tta' not in file.stem]
    return min(files, key=lambda file: (len(file.name), file.name))


def shrunk(part: Any) -> Any:
    """Return a config of few layers and regions that loads no file and has one process."""
    if isinstance(part, (list, tuple)):
        return type(part)(shrunk(x) for x in part)
    if not isinstance(part, dict):
        return part
    kept = {key: shrunk(value) for key, value in part.items()}
    if kept.get('type') in ('SyncBN', 'MMSyncBN'):
        kept['type'] = 'BN'
    # torch no longer trains a batch norm with the eps of NAS-FCOS.
    if kept.get('eps') == 0:
        kept['eps'] = 1e-5
    if kept.get('depth') in (101, 152):
        kept['depth'] = 50
    # The heads of so many regions take most of the time.
    for key in ('num', 'max_per_img', 'nms_pre'):
        if isinstance(kept.get(key), int) and kept[key] > 500:
            kept[key] = 32
    if isinstance(kept.get('init_cfg'), dict) and 'checkpoint' in kept['init_cfg']:
        kept['init_cfg'] = None
    # Batches are not padded to 1,024 pixels either.
    for key in ('pretrained', 'teacher_ckpt', 'batch_augments'):
        if key in kept:
            kept[key] = False if kept[key] is True else None
    if isinstance(kept.get('teacher_config'), str):
        kept['teacher_config'] = str(CONFIGS / kept['teacher_config'].removeprefix('configs/'))
    if 'score_thr' in kept:
        kept['score_thr'] = 0.0
    return ConfigDict(kept)


def images(family: str, number: int) -> dict:
    """Return images with boxes, masks, classes of pixels and captions."""
    size = SIZES.get(family, 128)
    data = demo_mm_inputs(
        number,
        [[3, size, size]] * number,
        num_items=[3, 2][:number],
        with_mask=True,
        with_semantic=True,
    )
    for sample in data['data_samples']:
        if family == 'fast_rcnn':
            boxes = sample.gt_instances.bboxes.clone()
            sample.proposals = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)))
        sample.text = 'cat. dog.'
        sample.custom_entities = True
        # Some detect a single class.
        sample.gt_instances.labels.zero_()
    return data


def train(model: torch.nn.Module, family: str) -> None:
    """Make one step."""
    clip = dict(num_frames=2, key_frames_inds=[0], num_items=[3], with_mask=True)
    data = demo_track_inputs(**clip) if family in CLIPS else images(family, 2)
    if family in TRACKS and family not in CLIPS:
        data = MODELS.build(dict(type='DetDataPreprocessor'))(data, True)
    else:
        data = model.data_preprocessor(data, True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    torch.optim.SGD(model.parameters(), 1e-4).step()
    if not loss.isfinite():
        raise FloatingPointError('the loss is not finite')


def predict(model: torch.nn.Module, family: str) -> None:
    """Detect in one image or frame: guided anchoring takes no more."""
    data = demo_track_inputs(num_frames=1) if family in TRACKS else images(family, 1)
    model.eval()
    with torch.no_grad():
        samples = model(**model.data_preprocessor(data, False), mode='predict')
    assert len(samples) == 1


def trial(family: str, answer: Callable[[str], None]) -> None:
    """Answer yes, or no with the reason, for training and then for prediction."""
    # Without a limit the system ends some process or other, and says nothing.
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    torch.manual_seed(0)
    try:
        model = MODELS.build(shrunk(Config.fromfile(config_of(family)).model))
        model.init_weights()
        for step in (train, predict):
            step(model, family)
            answer('yes')
    except Exception as error:
        print(traceback.format_exc(), file=sys.stderr)
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:160].replace('|', '/')
        fault = ''.join(f' ({why})' for part, why in FAULTS.items() if part in reason)
        answer(f'no: {reason}{fault}')


def answers(family: str) -> list[str]:
    """Return what a trial in a process of its own answers, or how the process ended."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=trial, args=(family, sender.send))
    child.start()
    sender.close()
    found: list[str] = []
    while len(found) < 2 and found[-1:] in ([], ['yes']):
        try:
            # A process that waits for ever uses no time of the processor.
            in_time = receiver.poll(10 * SECONDS)
            found.append(receiver.recv() if in_time else 'no: it waits for something')
        except EOFError:
            child.join()
            code = child.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f'status {code}'
            found.append(f'no: the process ended by {how}')
    child.kill()
    child.join()
    return [*found, ''][:2]


def main(families: list[str]) -> None:
    """Print the table."""
    warnings.simplefilter('ignore')
    MMLogger.get_instance('trial', log_level='ERROR')
    # The losses of some warm up by them.
    MessageHub.get_current_instance().update_info_dict(dict(iter=0, epoch=0))
    register_all_modules(init_default_scope=False)
    names = 'onedl-mmdetection onedl-mmcv torch torchvision'.split()
    versions = ', '.join(f'{name} {version(name)}' for name in names)
    print(HEAD.format(date=date.today(), versions=versions), flush=True)
    trained = predicted = 0
    with DefaultScope.overwrite_default_scope('mmdet'):
        for family in families:
            if family in NOT_TRIED:
                print(f'| {family} | not tried: {NOT_TRIED[family]} | | |', flush=True)
                continue
            trains, predicts = answers(family)
            trained += trains == 'yes'
            predicted += predicts == 'yes'
            name = config_of(family).stem
            print(f'| {family} | `{name}` | {trains} | {predicts} |', flush=True)
    print(f'\n{len(families)} families: {trained} train, {predicted} predict.')


if __name__ == '__main__':
    folders = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir())
    main(sys.argv[1:] or [name for name in folders if not name.startswith('_')])
