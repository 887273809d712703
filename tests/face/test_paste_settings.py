import pytest

from latentsync.errors import ConfigError
from latentsync.face.paste_settings import PasteSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [("feather", -0.1), ("feather", 0.9), ("expand", 1.0), ("detail", 1.5), ("enhance_strength", float("nan"))],
)
def test_values_that_make_no_sense_are_refused_by_the_name_of_their_option(name, value):
    with pytest.raises(ConfigError, match=f"--{name}"):
        PasteSettings(**{name: value})
