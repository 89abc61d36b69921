"""What tests ask of error messages."""


def one_line(excinfo) -> str:
    """Return the text of what ``pytest.raises`` caught, which must be one line."""
    text = str(excinfo.value)
    assert '\n' not in text
    return text
