# Sourced: a Python with mmentropy installed, in $PYTHON.
# Usage: . tools/env.sh EXTRAS STATEMENT
#   EXTRAS     what to install, e.g. onedl,tests
#   STATEMENT  Python that fails while something of it is missing
# Uses the active environment if there is one, else makes .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
    PYTHON=python
else
    PYTHON=.venv/bin/python
    [ -x "$PYTHON" ] || python3 -m venv .venv
fi
PYTHON=$(command -v "$PYTHON")
case $PYTHON in /*) ;; *) PYTHON=$PWD/$PYTHON ;; esac
# From another folder: here, the import would succeed uninstalled.
complete() { (cd tools && "$PYTHON" -c "$1"); }
if ! complete "$2" >/dev/null 2>&1; then
    # The forks would overwrite these, whose directories they share.
    for name in mmengine mmengine-lite mmcv mmcv-lite mmpretrain; do
        if "$PYTHON" -m pip show --quiet "$name" >/dev/null 2>&1; then
            echo "error: $name of OpenMMLab is installed in this environment, but not all that is" \
                 "needed: python tools/doctor.py says what is missing" >&2
            exit 1
        fi
    done
    echo "Installing mmentropy[$1] (about 3 minutes, 7 GB)"
    "$PYTHON" -m pip install --quiet --editable ".[$1]"
    complete "$2"
fi
