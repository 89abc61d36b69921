"""Python in a process of its own that has imported the packages already.

A new interpreter spends seconds on importing torch and the hosts. A process that is forked from a
server, which has done so once, does not, and starts from no state of another test either.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(
    ['mmentropy', 'mmentropy.evaluation', 'mmcv.ops', 'sklearn.datasets', 'yapf.yapflib.yapf_api']
)


def python(*arguments, cwd=None, env=None):
    """What ``subprocess.run([sys.executable, *arguments], ...)`` returns, with output as text.

    Args:
        arguments: A file, or '-c' and code, and then the arguments of the program.
        cwd: Where it runs.
        env: All variables of its environment, those of this process by default.
    """
    arguments = [*map(str, arguments)]
    with TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ('stdout', 'stderr')]
        variables = dict(os.environ if env is None else env)
        process = SERVER.Process(
            target=_program, args=(arguments, os.fspath(cwd or os.getcwd()), variables, files)
        )
        process.start()
        process.join()
        texts = [file.read_text() for file in files]
    return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _program(arguments, cwd, variables, files):
    gc.freeze()
    for stream, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    first, *others = arguments
    code = others.pop(0) if first == '-c' else None
    sys.argv = [first, *others]
    sys.path.insert(0, '' if code else str(Path(first).resolve().parent))
    try:
        if code:
            exec(code, dict(__name__='__main__'))
        else:
            runpy.run_path(first, run_name='__main__')
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
