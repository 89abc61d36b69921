"""A page about one or several pre-training runs, and the reader of their work directories."""

from mmentropy.report.measured import measured_runs
from mmentropy.report.page import embedding_html, report_html, write_page
from mmentropy.report.runs import Run, read_runs
