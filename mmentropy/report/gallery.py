"""The section of images: map, neighbours, views."""

from collections.abc import Sequence
from html import escape

from mmentropy.report.charts import map_chart
from mmentropy.report.images import Features, Measured, Neighbours, Picture
from mmentropy.report.palette import colour
from mmentropy.report.parts import badge, grid, missing, table
from mmentropy.report.runs import Run


def images(runs: Sequence[Run], measured: dict[str, Measured]) -> str:
    """Maps of all runs, then neighbours and views of each."""
    many = len(runs) > 1
    maps, rest = [], ''
    for run in runs:
        features, views, name = measured[run.key]
        found = ''
        if isinstance(features, Features):
            maps.append(embedding(run, features, name, badge(run, runs) if many else 'Map'))
            found += neighbours(features, 4 if many else 3)
        else:
            found += missing(f'Features not measured: {escape(features)}')
        if isinstance(views, str):
            found += missing(f'Views not shown: {escape(views)}')
        else:
            found += view_grid(views, 4 if many else 3)
        rest += (
            (
                f'<details class="facts"><summary>Neighbours and views of '
                f'{badge(run, runs)}</summary>{found}</details>'
            )
            if many
            else found
        )
    if not maps:
        return rest
    return MAP + (grid(maps, wide=True) if many else maps[0]) + rest


MAP = (
    '<p class="note">Maps are t-SNE of the features of test images. A '
    'character is the class, a ring a mistake of kNN. Point at one, tap it, '
    'or use the arrow keys to see it. Distances between groups mean little.'
    '</p>'
)


def sprite_style(key: str, features: Features) -> str:
    sprite = features.sprite
    rows = -(-len(features.labels) // features.columns)
    return (
        f'.sprite-{key}{{background-image:url({sprite.uri});'
        f'background-size:{100 * features.columns}% {100 * rows}%;'
        f'aspect-ratio:{sprite.width / features.columns:g}/'
        f'{sprite.height / rows:g}}}'
    )


def embedding(run: Run, features: Features, checkpoint: str, title: str) -> str:
    """The map, a character per test image; ``title`` is HTML."""
    names = features.classes
    short = all(len(name) <= 2 for name in names)
    signs = names if short else [*map(str, range(len(names)))]
    marks = []
    for (x, y), label, predicted in zip(
        features.points.tolist(), features.labels, features.predicted
    ):
        wrong = label != predicted
        text = f'class {names[label]}, kNN says {names[predicted]}' + (', wrong' if wrong else '')
        marks.append((x, y, signs[label], label, wrong, text))
    mistakes = sum(mark[4] for mark in marks)
    desc = (
        f'{len(marks)} test images of {len(names)} classes, each its '
        f'class as a character; kNN is wrong on {mistakes} of them, which '
        'have a ring.'
    )
    key = (
        ''
        if short
        else '<ul class="legend">'
        + ''.join(
            f'<li><b style="color:{colour(i)}">{i}</b> {escape(name)}</li>'
            for i, name in enumerate(names[:200])
        )
        + '</ul>'
    )
    svg = map_chart(f'map-{run.key}', f'Map of {run.name}', desc, marks)
    counts = [
        [
            escape(name),
            str(features.labels.count(i)),
            str(sum(p != i for label, p in zip(features.labels, features.predicted) if label == i)),
        ]
        for i, name in enumerate(names)
        if i in features.labels
    ]
    return (
        f'<figure class="embedding"><figcaption><h3>{title}</h3><p>kNN '
        f'<b>{features.knn:.2f} %</b>, linear probe <b>{features.linear:.2f} '
        f'%</b> on frozen backbone features of <code>{escape(checkpoint)}'
        f'</code>, {features.rows}; {len(marks)} on the map.</p>'
        f'</figcaption><div class="board" data-columns="{features.columns}" '
        f'data-rows="{-(-len(marks) // features.columns)}">{svg}'
        f'<div class="peek" aria-live="polite" hidden><div class="tile '
        f'sprite-{run.key}"></div><p></p></div></div>{key}<details><summary>'
        'Numbers<span class="hidden"> of the map</span></summary>'
        + table(['Class', 'on the map', 'kNN wrong'], counts, 'Test images on the map')
        + '</details></figure>'
    )


def image(picture: Picture, alt: str) -> str:
    """An image with its text."""
    return (
        f'<img src="{picture.uri}" width="{picture.width}" '
        f'height="{picture.height}" alt="{escape(alt)}">'
    )


def neighbours(features: Features, level: int) -> str:
    """Queries and what is nearest to them."""
    names = features.classes

    def row(item: Neighbours) -> list[str]:
        query = names[item.label]
        verdict = (
            '✓ right'
            if item.label == item.predicted
            else f'✗ kNN says {escape(names[item.predicted])}'
        )
        cells = [
            f'<div class="thumb">{image(item.query, f"query: {query}")}'
            f'<span>{escape(query)}</span><span>{verdict}</span></div>'
        ]
        for picture, label in item.found:
            same = label == item.label
            name = names[label]
            alt = f'{"same" if same else "other"} class: {name}'
            cells.append(
                f'<div class="thumb{"" if same else " other"}">'
                f'{image(picture, alt)}<span>{"✓" if same else "✗"} '
                f'{escape(name)}</span></div>'
            )
        return cells

    count = max(len(item.found) for item in features.neighbours)
    html = table(
        ['Test image', *map(str, range(1, count + 1))],
        [row(item) for item in features.neighbours],
        'Nearest training images by cosine, nearest first',
    )
    return (
        f'<div class="strip"><h{level}>Nearest neighbours</h{level}><p>'
        'The first test image of each of some classes, and the training '
        'images nearest to it. ✓ the same class, ✗ another.</p>'
        f'{html}</div>'
    )


def view_grid(views: Sequence[Sequence[Picture]], level: int) -> str:
    """Images and their views."""
    titles = ['image', 'view 1', 'view 2'][-len(views[0]) :]
    rows = [
        [
            title,
            *(
                f'<div class="thumb">{image(pictures[i], f"{title} {n}")}</div>'
                for n, pictures in enumerate(views, 1)
            ),
        ]
        for i, title in enumerate(titles)
    ]
    html = table(
        ['', *map(str, range(1, len(views) + 1))], rows, 'Images and the views made of them'
    )
    return (
        f'<div class="strip"><h{level}>What the network is shown'
        f'</h{level}><p>Held-out images and two views of each by the '
        'training pipeline, as the network gets them but for '
        f'normalisation.</p>{html}</div>'
    )
