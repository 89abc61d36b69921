"""One page about one or several pre-training runs."""

from .images import measured_runs
from .page import report_html
from .runs import Run, read_runs

__all__ = ['Run', 'measured_runs', 'read_runs', 'report_html']
