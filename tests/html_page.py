"""A page of HTML, taken apart."""

import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """Fails on tags that do not match; collects what tests ask for."""

    VOID = {'meta', 'link', 'img', 'br', 'hr', 'input'}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ''
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('script', 'style'):
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]

    def drawings(self) -> dict[str, dict]:
        """What the script draws, by the id of the chart."""
        return {
            attrs['id']: json.loads(attrs['data-drawing'])
            for attrs in self.all('div')
            if attrs.get('class') == 'chart'
        }
