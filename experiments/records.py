"""The results of an experiment: what a run is found by, and what results.json keeps of it."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Places:
    """Where an experiment has its page and results, its work directories and its images.

    ``images`` is the fingerprint of the images.
    """

    page: Path
    work: Path
    data: Path | None
    images: str | None = None


def resolved(run: dict):
    """The config of a run, in which {data} still stands for the folder of images."""
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / run['recipe'])
    cfg.merge_from_dict(run['changes'])
    return cfg


def is_program(run: dict) -> bool:
    """Whether a run calls a program and trains no recipe."""
    return Path(run['recipe']).parts[0] in ('benchmarks', 'tools')


def key_of(run: dict) -> str:
    """What the results of a run are found by: a hash of its resolved config and its seed.

    The config of a program is the values of its options. Files of this repository that a change
    names belong to it, too, but not what these inherit. Code does not belong to it: where it
    changes what runs give, mark their records as ``replaced``, with the reason, and call the runner
    again.
    """
    what = [run['recipe'], run['changes']] if is_program(run) else resolved(run).to_dict()
    told = [what, run['seed'], run.get('evaluate'), *hashes_of_files(run)]
    return short_hash(json.dumps(told, sort_keys=True).encode())


def hashes_of_files(run: dict) -> list[str]:
    """The hash of each file of this repository that the changes of a run name."""
    files = [ROOT / value for value in strings_in(run['changes'])]
    return [short_hash(path.read_bytes()) for path in files if path.is_file()]


def strings_in(value: object) -> Iterator[str]:
    """All strings among the values of dicts and lists within each other."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings_in(part)


def short_hash(data: bytes) -> str:
    """The first 16 digits of a SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def fingerprint(images: Path) -> str:
    """How many files there are below a folder, and a hash of their names and sizes."""
    found = os.walk(images, followlinks=True)
    files = sorted(Path(folder, name) for folder, _, names in found for name in names)
    told = [(str(path.relative_to(images)), path.stat().st_size) for path in files]
    return f'{len(files)} files, {short_hash(json.dumps(told).encode())}'


def is_labelled(record: dict, run: dict) -> bool:
    """Whether a record has the label and the seed of a run; None is a field that is absent."""
    told = dict(run['label'], seed=run['seed'])
    return all(record.get(name) == value for name, value in told.items())


def is_done(run: dict, records: list[dict]) -> bool:
    """Whether there is a record of a run.

    Records from before there were keys count by their label.
    """
    found = [record for record in records if is_labelled(record, run)]
    if not found or 'changes' not in run:
        return bool(found)
    return any('key' not in r for r in found) or key_of(run) in {r['key'] for r in found}


def all_records(places: Places) -> list[dict]:
    """All lines of results.json, also of runs that another one has replaced.

    Raises:
        ValueError: the file is damaged; one line.
    """
    path = places.page / 'results.json'
    try:
        return json.loads(path.read_text()) if path.exists() else []
    except json.JSONDecodeError as error:
        place = f'{path}, line {error.lineno}, is no JSON ({error.msg})'
        raise ValueError(f'{place}: restore the file, or mend the line') from error


def read_records(places: Places) -> list[dict]:
    """The runs that are done and that no other one has replaced."""
    return current(all_records(places))


def current(records: list[dict]) -> list[dict]:
    """The records that no other one has replaced."""
    return [record for record in records if 'replaced' not in record]


def shown(records: list[dict]) -> list[dict]:
    """The records that pages and verdicts are made of; of diverged runs those of a search."""
    return [r for r in current(records) if 'diverged' not in r or r.get('stage') == 'search']


def check_images(places: Places) -> None:
    """Raise a ValueError if there are results on other images than those that are given."""
    others = {r['images'] for r in read_records(places) if 'images' in r} - {places.images}
    if places.images and others:
        raise ValueError(
            f'{places.page}/results.json is of other images ({"; ".join(sorted(others))}) than '
            f'{places.data} ({places.images}): name the same images, or move that file away'
        )


def name_of(label: dict, seed: int) -> str:
    """The label and the seed of a run as words."""
    words = [str(value) for value in label.values() if value is not None]
    return ', '.join([*words, f'seed {seed}'])


def label_of(record: dict) -> dict:
    """The label of a run, which its record begins with."""
    return dict(takewhile(lambda item: item[0] != 'config', record.items()))


def write_whole(path: Path, text: str) -> None:
    """Write a file that is the old or the new one, whatever happens."""
    from mmentropy.weights.files import put_whole

    put_whole(text.encode(), path)


def keep(record: dict, run: dict, places: Places) -> None:
    """Add a record to results.json, a line each; one of the same run before is replaced by it."""
    records = all_records(places)
    for other in records:
        if 'replaced' not in other and is_labelled(other, run):
            other['replaced'] = f'by the run at {record["commit"]}'
    records.append(record)
    text = '[\n' + ',\n'.join(map(json.dumps, records)) + '\n]\n'
    write_whole(places.page / 'results.json', text)
