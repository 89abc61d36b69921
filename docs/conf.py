"""The site of the documentation.

python -m sphinx -c docs -W . work_dirs/site    # then open work_dirs/site/index.html

Sources are all pages of the repository, so that a link between two of them is one on the site, too.
Nothing is loaded from the network when it is read: formulas are MathML. It is made by Sphinx and
MyST, as the sites of mmengine, mmcv, mmpretrain and mmdet are: their users know it, pages stay
Markdown that GitHub shows, and the API is read from docstrings.
"""

import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mmentropy  # noqa: E402

project = 'mmentropy'
copyright = 'the mmentropy contributors'
release = mmentropy.__version__
root_doc = 'docs/index'
include_patterns = [
    'docs/**.md',
    'configs/**/README.md',
    'configs/README.md',
    'experiments/**/README.md',
    'benchmarks/**.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
]
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 4
autodoc_default_options = dict(members=True)
autodoc_typehints = 'none'
# A signature is not a place for the whole config of a default.
python_maximum_signature_line_length = 100
suppress_warnings = ['myst.strikethrough']
html_theme = 'furo'
html_title = 'mmentropy'
# The search finds more.
html_use_index = html_domain_indices = False
html_static_path = ['_site']
html_css_files = ['wide.css']
# The first page is not at the root of the site.
html_extra_path = ['_site/index.html']


def inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line as MathML."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display_math(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula of its own as MathML."""
    formula = convert(node.astext(), display='block')
    writer.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Let formulas be MathML."""
    app.add_html_math_renderer('mathml', (inline_math, None), (display_math, None))


html_math_renderer = 'mathml'
