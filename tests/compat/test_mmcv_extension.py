"""The module that stands in for mmcv's compiled one, and detectors of mmdet on it."""

import subprocess
import sys
import textwrap

import forked
import mmcv.ops
import mmcv_operators  # noqa: F401
import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.utils.dl_utils import mmcv_full_available

from mmentropy.compat import mmcv_extension


def test_other_ops_refuse():
    boxes = torch.tensor([[1.0, 1, 2, 2, 0.1]])
    with pytest.raises(NotImplementedError) as raised:
        mmcv.ops.nms_rotated(boxes, torch.ones(1), 0.5)
    message = str(raised.value)
    assert message.startswith('nms_rotated of mmcv.ops is not in mmentropy')
    assert '-std=c++20' in message and '\n' not in message
    with pytest.raises(NotImplementedError, match='^box_iou_rotated of'):
        mmcv.ops.box_iou_rotated(boxes, boxes)


def test_layers_on_other_ops_are_refused_when_a_model_is_built():
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    for layer, op in (
        (dict(type='RoIAlignRotated', output_size=7, sampling_ratio=2), 'roi_align_rotated'),
        (dict(type='PrRoIPool', output_size=7), 'prroi_pool'),
    ):
        with pytest.raises(NotImplementedError) as raised:
            SingleRoIExtractor(layer, out_channels=4, featmap_strides=[4])
        message = str(raised.value)
        assert message.startswith(f'{layer["type"]} of mmcv.ops needs {op}_forward, which')
        assert 'install an mmcv' in message and '\n' not in message
    # These have no compiled part, or one that is not needed on a CPU.
    torch.nn.Sequential(mmcv.ops.SimpleRoIAlign(7, 1.0), mmcv.ops.CrissCrossAttention(8))
    torch.nn.Sequential(mmcv.ops.FusedBiasLeakyReLU(4))


def test_module_can_be_asked():
    import mmcv._ext as ext
    from mmcv.utils import collect_env

    assert mmcv_full_available()
    assert not hasattr(ext, '__version__')
    assert not hasattr(ext, '__path__')
    assert mmcv.ops.get_compiling_cuda_version() == 'not available'
    assert 'torchvision' in collect_env()['MMCV Compiler']


def test_no_autograd_outside_of_mmcv():
    boxes = torch.rand(3, 4).requires_grad_()
    assert not mmcv.ops.bbox_overlaps(boxes, boxes).requires_grad


@pytest.mark.slow
def test_installed_once_and_last():
    before = list(sys.meta_path)
    mmcv_extension.install_finder()
    assert sys.meta_path == before
    assert [type(f) for f in sys.meta_path].count(mmcv_extension._Finder) == 1


def run(code):
    """In a process of its own, which has not imported anything."""
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_package_imports_neither_mmdet_nor_operators():
    """They come when somebody asks for them, with all that mmpretrain has for mmdet."""
    run("""
        import sys, warnings
        warnings.filterwarnings('error', 'Fail to import')
        import mmentropy
        heavy = ('mmdet', 'mmcv.ops', 'mmcv._ext', 'sklearn', 'scipy')
        found = [name for name in sys.modules if name.startswith(heavy)]
        assert not found, found
        from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
        import mmcv.ops
        assert MultiScaleDeformableAttention is mmcv.ops.MultiScaleDeformableAttention
        import mmcv.cnn.bricks.transformer as transformer
        assert not hasattr(transformer, 'Attention')
        import mmpretrain.models.utils.res_layer_extra_norm
        from mmdet.registry import MODELS
        assert MODELS.get('ResLayerExtraNorm')
        """)


@pytest.mark.slow
def test_mmcv_was_imported_before():
    """It has then gone on without its ops, and without their names."""
    run("""
        import sys, types, warnings
        warnings.simplefilter('ignore')
        import mmcv.cnn.bricks.transformer
        try:
            import mmcv.ops
        except ModuleNotFoundError:
            pass
        else:
            raise SystemExit('mmcv.ops was there')
        # These take long to import, and are not needed here.
        for name in ('datasets', 'engine', 'models', 'views'):
            sys.modules[f'mmentropy.{name}'] = types.ModuleType(name)
        import mmentropy
        import mmcv.ops
        from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
        assert (MultiScaleDeformableAttention is
                mmcv.ops.MultiScaleDeformableAttention)
        """)


@pytest.mark.slow
def test_mmdet_was_imported_before():
    """By mmpretrain, whose models ask for it; it goes on as a whole.

    A forked process stands for an mmcv whose compiled operators do not load. They are no reason to
    stop: only mmdet needs them.
    """
    run("""
        import mmpretrain.models
        import os, sys
        assert 'mmdet.models.dense_heads.rpn_head' in sys.modules
        without_operators = os.fork()
        if not without_operators:
            sys.modules['mmcv.ops'] = None
        import mmentropy
        if not without_operators:
            sys.exit()
        assert os.waitpid(without_operators, 0)[1] == 0
        import mmcv.ops
        import mmdet.models
        for key in ('batched_nms', 'DeformConv2d'):
            found = [vars(module)[key] for name, module in sys.modules.items()
                     if name.startswith('mmdet.') and key in vars(module)]
            assert set(found) == {getattr(mmcv.ops, key)}, key
        # Imported under another name.
        focal_loss = sys.modules['mmdet.models.losses.focal_loss']
        assert (focal_loss._sigmoid_focal_loss is
                mmcv.ops.sigmoid_focal_loss)
        """)


@pytest.mark.slow
def test_compiled_ops_win(tmp_path):
    (tmp_path / '_ext.py').write_text('compiled = True')
    done = forked.python(
        '-c',
        f"""
import sys
import mmentropy
import mmcv._ext
assert 'mmentropy' in mmcv._ext.__spec__.origin
del sys.modules['mmcv._ext']
mmcv.__path__.append({str(tmp_path)!r})
import mmcv._ext
assert mmcv._ext.compiled is True
""",
    )
    assert done.returncode == 0, done.stderr


FEW = dict(score_thr=0.0, max_per_img=5)
RPN = dict(nms_pre=50, max_per_img=10)
RCNN = dict(
    train_cfg=dict(rpn_proposal=RPN, rcnn=dict(sampler=dict(num=8))),
    test_cfg=dict(rpn=RPN, rcnn=FEW),
)
DETECTORS = {
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': RCNN,
    'mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py': RCNN,
    'dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py': RCNN,
    'retinanet/retinanet_r50_fpn_1x_coco.py': dict(test_cfg=FEW),
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': dict(test_cfg=FEW),
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': dict(
        num_queries=10, test_cfg=dict(max_per_img=5)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', DETECTORS)
@pytest.mark.filterwarnings('ignore')
def test_detector(name):
    """Loss, its gradient and a prediction, on images of 64 pixels."""
    pytest.importorskip('mmdet')
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    cfg = get_config(f'mmdet::{name}')
    cfg.merge_from_dict(dict(model=dict(DETECTORS[name], backbone=dict(init_cfg=None))))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        for key, p in model.named_parameters():
            # Memory as it was found.
            if 'level_embed' in key:
                torch.nn.init.normal_(p)
        data = demo_mm_inputs(2, [[3, 64, 64], [3, 64, 48]], with_mask='mask' in name)
        data = model.data_preprocessor(data, True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        with torch.no_grad():
            samples = model.eval()(**data, mode='predict')
    last = getattr(model.backbone, model.backbone.res_layers[-1])
    assert all(p.grad.isfinite().all() for p in last.parameters() if p.requires_grad)
    assert last[0].conv1.weight.grad.any()
    for sample in samples:
        found = sample.pred_instances
        assert 0 < len(found) <= 5 and found.bboxes.isfinite().all()
