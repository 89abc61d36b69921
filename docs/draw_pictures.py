"""Draw the pictures of the pages: python docs/draw_pictures.py.

The pipelines of the methods, one iteration through the rooms of the package, and views of a
photograph as the network sees them.
"""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from mmengine.config import Config
from sklearn.datasets import load_sample_image

from mmentropy.views.loading import collate_images
from mmentropy.views.preprocessor import BatchViews

matplotlib.use('Agg')
FOLDER = Path(__file__).parent / 'pictures'
CONFIGS = Path(__file__).parent.parent / 'configs'
COLOURS = dict(data='#e8eef7', trained='#d9ead3', averaged='#fce5cd', objective='#ead1dc')
Box = tuple[float, float, str, str]
# Boxes by name (column, row, text, kind), and the arrows between them.
PIPELINES: dict[str, tuple[dict[str, Box], list[tuple[str, str]]]] = {
    'mec': (
        dict(
            image=(0, 0.5, 'image', 'data'),
            a=(1, 0, 'view 1', 'data'),
            b=(1, 1, 'view 2', 'data'),
            online=(2, 0, 'backbone\nprojector', 'trained'),
            predictor=(3, 0, 'predictor', 'trained'),
            target=(2, 1, 'averaged\ncopy of both', 'averaged'),
            loss=(4, 0.5, r'$-$log det$(I + \lambda P T^\top)$' + '\nby four terms', 'objective'),
        ),
        [
            *(('image', 'a'), ('image', 'b'), ('a', 'online'), ('b', 'target')),
            *(('online', 'predictor'), ('predictor', 'loss'), ('target', 'loss')),
        ],
    ),
    'er': (
        dict(
            image=(0, 0.5, 'image', 'data'),
            a=(1, 0, 'view 1', 'data'),
            b=(1, 1, 'view 2', 'data'),
            online=(2, 0, 'backbone\nprojector', 'trained'),
            predictor=(3, 0, 'predictor\n(BYOL+ER)', 'trained'),
            target=(2, 1, 'averaged network\nor the same', 'averaged'),
            entropy=(4, 0, 'entropy\nof the batch', 'objective'),
            error=(4, 1, 'reconstruction\nerror', 'objective'),
        ),
        [
            *(('image', 'a'), ('image', 'b'), ('a', 'online'), ('b', 'target')),
            *(('online', 'predictor'), ('predictor', 'entropy'), ('predictor', 'error')),
            ('target', 'error'),
        ],
    ),
    'minent': (
        dict(
            image=(0, 0.5, 'image', 'data'),
            a=(1, 0, 'view 1', 'data'),
            b=(1, 1, 'view 2', 'data'),
            online=(2, 0.5, 'backbone\nand heads', 'trained'),
            norm=(3, 0.5, 'normalised\nalong the batch', 'trained'),
            choice=(4, 0, 'nearest class\nof one view', 'objective'),
            loss=(4, 1, 'cross-entropy\nof the other', 'objective'),
        ),
        [
            *(('image', 'a'), ('image', 'b'), ('a', 'online'), ('b', 'online')),
            *(('online', 'norm'), ('norm', 'choice'), ('norm', 'loss'), ('choice', 'loss')),
        ],
    ),
    'joint_embedding': (
        dict(
            image=(0, 0.5, 'image', 'data'),
            a=(1, 0, 'two or more', 'data'),
            b=(1, 1, 'views', 'data'),
            online=(2, 0.5, 'backbone\nprojector', 'trained'),
            agree=(3, 0, 'views agree', 'objective'),
            spread=(3, 1, 'images\nare spread', 'objective'),
        ),
        [
            *(('image', 'a'), ('image', 'b'), ('a', 'online'), ('b', 'online')),
            *(('online', 'agree'), ('online', 'spread')),
        ],
    ),
    'iteration': (
        dict(
            loader=(0, 0, 'datasets/\nimages', 'data'),
            views=(1, 0, 'views/\ntwo views', 'data'),
            model=(2, 0, 'models/\nloss of views', 'trained'),
            formula=(3, 0, 'functional/\nthe formula', 'objective'),
            ranks=(3, 1, 'distributed.py\nrows of all ranks', 'objective'),
            step=(2, 1, 'optimiser\nof mmengine', 'trained'),
            hooks=(0, 1, 'engine/\nloop and hooks', 'averaged'),
        ),
        [
            *(('loader', 'views'), ('views', 'model'), ('model', 'formula'), ('formula', 'ranks')),
            *(('ranks', 'step'), ('step', 'hooks'), ('hooks', 'loader')),
        ],
    ),
}
WIDTH, HEIGHT = 0.8, 0.5


def draw_box(axes: Axes, box: Box) -> None:
    """Draw a box with its text."""
    column, row, text, kind = box
    corner = (column - WIDTH / 2, -row - HEIGHT / 2)
    shape = dict(boxstyle='round,pad=0.02', facecolor=COLOURS[kind], edgecolor='#555555')
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, **shape))
    axes.text(column, -row, text, ha='center', va='center', fontsize=8)


def draw_arrow(axes: Axes, start: Box, end: Box) -> None:
    """Draw an arrow between the sides of two boxes that face each other."""
    across = np.sign(end[0] - start[0])
    down = 0 if across else np.sign(end[1] - start[1])
    reach = np.array([across * (WIDTH / 2 + 0.03), -down * (HEIGHT / 2 + 0.03)])
    first, last = (np.array([box[0], -box[1]]) for box in (start, end))
    arrow = dict(arrowstyle='->', color='#555555')
    axes.annotate('', last - reach, first + reach, arrowprops=arrow)


def draw_pipeline(name: str) -> None:
    """Write a pipeline as SVG."""
    boxes, arrows = PIPELINES[name]
    columns = 1 + max(column for column, *_ in boxes.values())
    figure, axes = plt.subplots(figsize=(1.7 * columns, 2.2))
    for box in boxes.values():
        draw_box(axes, box)
    for start, end in arrows:
        draw_arrow(axes, boxes[start], boxes[end])
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(-1.4, 0.4))
    axes.set_axis_off()
    # The same picture is the same file.
    with matplotlib.rc_context({'svg.hashsalt': name, 'svg.fonttype': 'path'}):
        figure.savefig(FOLDER / f'{name}.svg', bbox_inches='tight', metadata=dict(Date=None))
    plt.close(figure)


def draw_views() -> None:
    """Write a photograph beside two views of it, four times, by the recipe for folders."""
    cfg = Config.fromfile(CONFIGS / 'mec/fast_r50_1xb64_100e_folder.py')
    photo = torch.from_numpy(load_sample_image('china.jpg')[:, 100:527].copy())
    batch = collate_images([dict(inputs=photo)] * 4)
    make_views = BatchViews(pipeline=cfg.data_preprocessor.pipeline, seed=0)
    views = make_views(batch, training=True)['inputs']
    figure, places = plt.subplots(2, 5, figsize=(10, 4.2))
    for line, found in zip(places, views):
        line[0].imshow(photo.numpy())
        for axes, view in zip(line[1:], found):
            axes.imshow(view.permute(1, 2, 0).clamp(0, 255).byte().numpy())
    for axes in places.flat:
        axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(FOLDER / 'views.png', dpi=80, metadata=dict(Software=None))
    plt.close(figure)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in PIPELINES:
        draw_pipeline(name)
    draw_views()


if __name__ == '__main__':
    main()
