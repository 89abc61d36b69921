"""Folders that are whole or not there."""

import pytest

from mmentropy.weights.files import whole_folder


def test_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / 'a' / 'b'
    with whole_folder(path) as aside:
        (aside / 'x').write_text('1')
        assert not path.exists()
    assert (path / 'x').read_text() == '1'
    assert [p.name for p in path.parent.iterdir()] == ['b']


def test_nothing_stays_of_one_that_failed(tmp_path):
    with pytest.raises(KeyError), whole_folder(tmp_path / 'a') as aside:
        (aside / 'x').write_text('1')
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_wins(tmp_path):
    path = tmp_path / 'a'
    with whole_folder(path) as aside:
        (aside / 'x').write_text('second')
        with whole_folder(path) as other:
            (other / 'x').write_text('first')
    assert (path / 'x').read_text() == 'first'
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_its_place_is_an_error(tmp_path):
    path = tmp_path / 'a'
    with pytest.raises(NotADirectoryError), whole_folder(path):
        path.write_text('kept')
    assert path.read_text() == 'kept'
    assert list(tmp_path.iterdir()) == [path]
