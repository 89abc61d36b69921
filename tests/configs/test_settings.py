"""A published number stands at the settings that it was published for."""

import pytest
import settings_table
import yaml
from repository import REPOSITORY

PUBLISHED = yaml.safe_load((REPOSITORY / 'configs/published.yml').read_text())


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_a_recipe_with_a_published_number_has_its_settings(name):
    stated = settings_table.facts(name)
    assert stated['paper'] or stated['code']
    assert settings_table.contradictions(name, PUBLISHED[name]['source']) == []


def test_the_code_of_mec_contradicts_its_paper_in_distortion_and_crops():
    """Hence the recipe of the code may not have a number of the paper."""
    found = settings_table.contradictions('mec/r50_8xb128_200e_in1k', 'arXiv 2210.11464')
    assert found == [
        'mec/r50_8xb128_200e_in1k: distortion is 0.03125, the paper has 0.06',
        'mec/r50_8xb128_200e_in1k: crops is 0.2 to 1 of the image, '
        'the paper has 0.08 to 1 of the image',
    ]


def test_a_fact_about_no_setting_is_named(monkeypatch):
    stated = dict(paper={'colour': 'red'}, code={}, inferred={}, ours={})
    monkeypatch.setattr(settings_table, 'facts', lambda name: stated)
    name = 'mec/r50_8xb128_200e_in1k'
    found = settings_table.contradictions(name, 'arXiv 2210.11464')
    assert found == [f'colour is no setting of {name}']
