"""Diagrams that Mermaid can draw."""

import re

import pytest
from repository import REPOSITORY

PAGES = sorted((REPOSITORY / 'docs').glob('*.md'))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_no_diagram_has_a_semicolon(page):
    """Mermaid ends a statement at a semicolon, also within the text of an arrow."""
    diagrams = re.findall(r'```mermaid\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL)
    assert not [line for diagram in diagrams for line in diagram.splitlines() if ';' in line]
