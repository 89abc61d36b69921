"""Colours of light and dark pages; tests hold them to WCAG's contrasts."""

LIGHT = dict(
    paper='#ffffff',
    raised='#f5f6f4',
    ink='#16191d',
    muted='#565d66',
    line='#dfe2e0',
    alarm='#a3240d',
    good='#00693f',
)
DARK = dict(
    paper='#14171b',
    raised='#1d2126',
    ink='#eceef0',
    muted='#a3abb4',
    line='#343a41',
    alarm='#ff9d87',
    good='#6fd6a0',
)
# Of runs and classes, by turns; lines also differ by dashes and letters.
LIGHT_SERIES = (
    '#1f5fbf',
    '#b8470b',
    '#00735c',
    '#9c3587',
    '#7d6200',
    '#c0203a',
    '#5a6270',
    '#00708f',
    '#6244c0',
    '#4b7000',
)
DARK_SERIES = (
    '#7db0ff',
    '#ff9d66',
    '#4fd1af',
    '#eb93d8',
    '#e3c34f',
    '#ff8a94',
    '#b4bcc8',
    '#5ccbea',
    '#b6a2ff',
    '#a8d35e',
)
DASHES = ('', '7 3', '2 3', '9 3 2 3', '5 2 2 2 2 2', '14 4', '1 2')


def variables(colours: dict[str, str], series: tuple[str, ...]) -> str:
    """CSS custom properties: ``--ink``, ..., ``--s0``, ..."""
    found = colours | {f's{i}': colour for i, colour in enumerate(series)}
    return ''.join(f'--{name}:{value};' for name, value in found.items())


def colour(slot: int) -> str:
    """The CSS colour of a run or class."""
    return f'var(--s{slot % len(LIGHT_SERIES)})'


def dash(slot: int) -> str:
    """The dash pattern of a run; no two of 50 share it and the colour."""
    return DASHES[(slot + slot // len(LIGHT_SERIES)) % len(DASHES)]
