"""What is said of a configuration that cannot be used."""

import pytest

from llmproxy.common.config import ConfigError
from llmproxy.common.config_file import parse


def problem(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, environment)
    return str(caught.value)
