"""Pages whose links lead somewhere, and messages that the code has."""

import ast
import re
import subprocess
import sys

import pytest
from repository import REPOSITORY

FOLDERS = ('docs', 'configs', 'experiments', 'benchmarks')
PAGES = sorted(
    [*REPOSITORY.glob('*.md'), *(p for name in FOLDERS for p in (REPOSITORY / name).rglob('*.md'))]
)
LINK = re.compile(r'\]\(([^)\s]+)\)')
CODE = re.compile(r'```.*?```|`[^`\n]*`', re.DOTALL)


def anchors(page):
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r'^#+ (.+)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    words = [re.sub(r'[^\w\- ]', '', heading.lower()) for heading in headings]
    return {text.replace(' ', '-') for text in words}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(CODE.sub('', page.read_text(encoding='utf-8'))):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_line_is_a_comment_on_the_site(page):
    """MyST leaves out a line that begins with a percent sign."""
    assert not re.search('^%', page.read_text(encoding='utf-8'), re.MULTILINE)


def messages():
    """All texts of the package and its tools, what is computed in them as an ellipsis."""
    found = []
    for folder in ('mmentropy', 'tools'):
        for path in (REPOSITORY / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                if isinstance(node, ast.JoinedStr):
                    parts = (v.value if isinstance(v, ast.Constant) else '…' for v in node.values)
                    found.append(''.join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return '\n'.join(found)


def test_listed_messages_are_those_of_the_code():
    page = (REPOSITORY / 'docs/reference/errors.md').read_text(encoding='utf-8')
    listed = re.findall(r'^\| `([^`]+)`', page, re.MULTILINE)
    assert len(listed) > 20
    known = messages()
    for message in listed:
        for part in message.split('…'):
            assert part.strip(' ()') in known, message


def test_what_a_config_can_name_is_on_the_page_of_the_api():
    page = (REPOSITORY / 'docs/reference/api.md').read_text(encoding='utf-8')
    listed = set(re.findall(r'automodule:: (\S+)', page))
    package = (REPOSITORY / 'mmentropy').rglob('*.py')
    for path in (p for p in package if '.register_module()' in p.read_text(encoding='utf-8')):
        module = '.'.join(path.relative_to(REPOSITORY).with_suffix('').parts)
        assert module in listed, f'docs/reference/api.md lacks automodule:: {module}'


@pytest.mark.slow
def test_the_site_is_built_without_warnings(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-c', 'docs', '.', tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / 'docs/index.html').read_text(encoding='utf-8')
    # Whoever reads it needs no network.
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page)
