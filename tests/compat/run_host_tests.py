"""mmcv's and mmdet's own tests, run on the operators of mmentropy.compat.mmcv_ops.

    pip install parameterized faster_coco_eval
    python tests/compat/run_host_tests.py mmcv CHECKOUT
    python tests/compat/run_host_tests.py mmdet CHECKOUT [arguments of pytest]

CHECKOUT is a clone whose code and tests are used in place of the installed package; what came of it
is in docs/detectors.md. mmcv has most tests for a GPU only: here all of the
operators that are served run on the CPU. Every failure is printed with its reason, and the exit
status is 1 if one of them is not in :data:`KNOWN`. mmcv takes a minute or two, mmdet four.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).parents[2]
MMCV = (
    'bbox carafe deform_conv deform_roi_pool focal_loss line_nms masked_conv2d '
    'modulated_deform_conv ms_deformable_attn nms roi_align roi_pool saconv'
).split()
MMDET = ('necks', 'layers', 'dense_heads', 'roi_heads', 'seg_heads', 'detectors')
# Failures that are no fault of the operators, by a pattern of their name and reason.
KNOWN = {
    r'test_line_nms\[0.5-5-4\]|test_line_nms\[1-5-4\]': 'a lane is compared with itself in mmcv',
    r'test_line_nms_real_data': 'the data are not in the repository',
    r'conv_half.*BFloat16': 'autocast on a CPU gives bfloat16, which numpy has not',
    r'conv_half.*Half': 'the autocast of mmcv 2.1 is for a GPU only',
    r'test_heuristic_fusion_head': 'the values are right, in int32 where int64 is expected',
    r'could not be downloaded': 'pretrained weights are downloaded',
    r'transformers is not installed': 'pip install transformers',
    r'test_carafe_naive_gradcheck.*(is_musa|AssertionError)': 'mmcv asserts that it is on a GPU',
}


def on_cpu(checkout: Path, folder: Path) -> list[str]:
    """Copy mmcv's tests to ``folder`` with the CPU in place of the GPU; return those to run."""
    shutil.copytree(checkout / 'tests', folder / 'tests')
    found = [folder / f'tests/test_ops/test_{name}.py' for name in MMCV]
    # mmcv 2.1 has no lanes.
    files = [file for file in found if file.exists()]
    for file in files:
        text = file.read_text('utf-8')
        text = re.sub(r"(['\"])cuda(:0)?\1", r'\1cpu\1', text).replace('.cuda()', '.cpu()')
        text = text.replace('torch.cuda.is_available()', 'True')
        # Numerical gradients of so many channels take hours on a CPU.
        text = text.replace('2, 64, 3, 3, requires', '2, 4, 3, 3, requires')
        text = re.sub(r'\b(32|64|71|1025),\s', '', text) if 'gradient_numerical' in text else text
        text = re.sub(r'\b(not|if|elif) IS_CUDA_AVAILABLE', r'\1 True', text)
        file.write_text(text, 'utf-8')
    return [str(file) for file in files]


def failures(report: Path) -> list[tuple[str, str]]:
    """Return names and first lines of what failed."""
    found = []
    for case in ElementTree.parse(report).iter('testcase'):
        for result in (*case.iter('failure'), *case.iter('error')):
            lines = re.findall('^E +(.+)', result.text or '', re.MULTILINE)
            reason = (lines[-1:] or (result.get('message') or '').split('\n'))[0][:200]
            found.append((f'{case.get("classname")}::{case.get("name")}', reason))
    return found


def main(host: str, checkout: Path, arguments: list[str]) -> int:
    """Run the tests of one host; return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if host == 'mmcv':
            tests, where = on_cpu(checkout, folder), folder
        else:
            tests, where = [f'tests/test_models/test_{room}' for room in MMDET], checkout
        report = folder / 'report.xml'
        path = os.pathsep.join([str(checkout), str(REPOSITORY)])
        plugins = ['-p', 'mmentropy', '-p', 'no:cacheprovider', '-W', 'ignore']
        command = [sys.executable, '-m', 'pytest', *plugins, '-q', '--tb=short', '--no-header']
        command.append('--continue-on-collection-errors')
        subprocess.run(
            [*command, f'--junitxml={report}', *tests, *arguments],
            cwd=where,
            env=dict(os.environ, PYTHONPATH=path + os.pathsep + os.environ.get('PYTHONPATH', '')),
        )
        failed = failures(report)
    unknown = 0
    for test, reason in failed:
        line = f'{test}: {reason}'
        known = next((why for pattern, why in KNOWN.items() if re.search(pattern, line)), None)
        unknown += known is None
        print(line + (f' ({known})' if known else ''))
    print(f'{len(failed)} failed, {unknown} of them not known')
    return int(unknown > 0)


if __name__ == '__main__':
    if len(sys.argv) < 3 or sys.argv[1] not in ('mmcv', 'mmdet') or not Path(sys.argv[2]).is_dir():
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:]))
