"""What the numbers of a report mean, in one sentence each."""

from typing import NamedTuple


class Metric(NamedTuple):
    """How a logged number is shown.

    Args:
        title: Of its chart.
        unit: '' where it has none.
        better: 'higher', 'lower', or '' where neither is.
        text: Meaning and range.
    """

    title: str
    unit: str = ''
    better: str = ''
    text: str = ''


# Of features, in the order of the page; definitions: mmentropy/functional/diagnostics.py.
MONITORED = dict(
    rankme=Metric(
        'RankMe',
        'dimensions',
        'higher',
        'How many directions the features use: 1 if all images fall together, '
        'at most the smaller of images and width.',
    ),
    lidar=Metric(
        'LiDAR',
        'dimensions',
        '',
        'How many directions tell images apart rather than views of one '
        'image: from 1 to images less one or the width. Higher in a good '
        'network, and in one that collapsed.',
    ),
    er_bound=Metric(
        'ER bound',
        'nats',
        'higher',
        'Entropy minus reconstruction, a lower bound on the information that '
        'two views share: at most the log of the number of images.',
    ),
    entropy=Metric(
        'Entropy',
        'nats',
        'higher',
        'How far features spread over the sphere: from the entropy of one '
        'point to log N above it. It depends on the width.',
    ),
    reconstruction=Metric(
        'Reconstruction',
        'nats',
        'lower',
        'How badly one view predicts the other: from the entropy of one point '
        'to 20 above it. It depends on the width.',
    ),
    coding_length=Metric(
        'Coding length',
        'nats per image',
        'higher',
        'How long a code the features need at a given distortion, the '
        'quantity that MEC maximises: 0 or more.',
    ),
    feature_std=Metric(
        'Standard deviation',
        '',
        'higher',
        'Spread per dimension of unit features: 0 is one point, 1 is isotropic.',
    ),
    alignment=Metric(
        'Alignment',
        '',
        'lower',
        'Squared distance between two views of an image: 0 is the same point, '
        '2 orthogonal. It is 0 in a collapse too.',
    ),
    uniformity=Metric(
        'Uniformity',
        '',
        'lower',
        'How evenly features cover the sphere: 0 is one point, near -4 is spread out.',
    ),
    alpha_req=Metric(
        'alpha-ReQ',
        '',
        '',
        'How fast the spectrum falls: 0 is isotropic, about 1 transferred '
        'best in its paper, more is few directions.',
    ),
    knn=Metric(
        'kNN among held-out images',
        '%',
        'higher',
        'Share of held-out images whose class is that of their neighbours '
        'among them: from chance to 100.',
    ),
    assignment_entropy=Metric(
        'Assignment entropy',
        'share',
        'higher',
        'How evenly prototypes are used: 0 if one takes all, 1 if all are used alike.',
    ),
)

# Of training; what is not here is shown under its own name.
TRAINED = dict(
    loss=Metric(
        'Loss', '', 'lower', 'What is minimised. Losses of different methods do not compare.'
    ),
    coding_length=Metric(
        'Coding length',
        'nats per image',
        'higher',
        'The quantity that MEC maximises, on the training batch: 0 or more.',
    ),
    spectral_norm=Metric(
        'Spectral norm',
        '',
        '',
        'Largest eigenvalue of lambda C in MEC: above 1 the Taylor series '
        'diverges, unless the guard is on.',
    ),
    entropy=Metric(
        'Entropy', 'nats', 'higher', 'The entropy that ER or DINO raises, on the training batch.'
    ),
    reconstruction=Metric(
        'Reconstruction',
        'nats',
        'lower',
        'The term of ER or DINO that draws views together, on the training batch.',
    ),
    target_entropy=Metric(
        'Target entropy',
        'share',
        'higher',
        'How evenly MinEnt uses its classes: 0 if one is left, 1 if all are used alike.',
    ),
    grad_norm=Metric('Gradient norm', '', '', 'Length of the gradient before clipping.'),
    lr=Metric('Learning rate', '', '', 'As the schedule set it.'),
)
KNN = Metric(
    'kNN accuracy',
    '%',
    'higher',
    'Share of test images whose nearest training images vote for their class, '
    'on frozen backbone features: from chance to 100.',
)
# Logged, but not about learning, or RankMe to three digits.
UNSHOWN = ('data_time', 'time', 'memory', 'effective_rank')


def trained(key: str) -> Metric:
    """The metric of a training or validation key."""
    # Of MinEnt's heads: head0_target_entropy, ...
    known = TRAINED.get(key) or next(
        (
            metric
            for name, metric in TRAINED.items()
            if key.startswith('head') and key.endswith(f'_{name}')
        ),
        Metric(''),
    )
    return known if key in TRAINED else known._replace(title=key.replace('_', ' '))
