"""The commands and the code of README.md and of the pages in docs."""

import re
import shlex

from repository import REPOSITORY

PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').rglob('*.md'))]


def blocks(language):
    """The page and the text of each block of a language."""
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for code in re.findall(rf'^```{language}\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
            yield str(page.relative_to(REPOSITORY)), code


def commands():
    """The page and the words of each command, without what it sets in the environment."""
    found = []
    for page, code in blocks('bash'):
        for line in code.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
                words.pop(0)
            if words:
                found.append((page, words))
    return found
