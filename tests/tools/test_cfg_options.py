"""What --cfg-options makes of a text."""

import pytest
from cfg_options import add_cfg_options, merge_cfg_options, parsed
from cli import Parser
from mmengine.config import Config, DictAction

PATHS = ['/my photos/a', '/my photos, (old)/a', "/bob's photos, 2/a", '/[1]/a,b']


@pytest.mark.parametrize(
    'text',
    '1 -1 0.5 1e-3 True false None a a,b 1,2 [] () [1,2] (1,2) (1,) [(1,2),(a,b)]'.split(),
)
def test_values_are_those_of_mmengine(text):
    ours, theirs = parsed(text), DictAction._parse_iterable(text)
    assert ours == theirs and type(ours) is type(theirs)


def test_blanks_stay_in_texts():
    assert parsed('a b') == 'a b'
    assert parsed('[a b, 1, (c d, 2)]') == ['a b', 1, ('c d', 2)]
    assert parsed("'1'") == '1' and parsed("['a, b', c]") == ['a, b', 'c']
    assert parsed('"a,b"') == 'a,b'


@pytest.mark.parametrize('path', PATHS)
def test_a_path_stays_a_path(path):
    cfg = Config(dict(data=[dict(root='data')], names=['x']))
    merge_cfg_options(cfg, {'data.0.root': path, 'names': 'a,b', 'new.key': '1,2'})
    assert cfg.data[0].root == path
    assert cfg.names == ['a', 'b'] and cfg.new.key == [1, 2]


def test_brackets_have_to_be_closed():
    with pytest.raises(ValueError, match=r'brackets of \[1,\(2\] are not closed'):
        parsed('[1,(2]')


def test_what_is_no_key_and_value_is_named(capsys):
    parser = Parser(prog='x.py')
    add_cfg_options(parser)
    found = parser.parse_args(['--cfg-options', 'a=b=c', 'd=', '--cfg-options', 'e=1'])
    assert found.cfg_options == dict(a='b=c', d='', e='1')
    for wrong in ('photos', '=1'):
        with pytest.raises(SystemExit):
            parser.parse_args(['--cfg-options', 'a=my', wrong])
        said = capsys.readouterr().err
        assert said.startswith('error: --cfg-options needs KEY=VALUE') and repr(wrong) in said
        assert said.count('\n') == 1
