"""A policy from a file that an operator names on the command line."""

import os
from pathlib import Path

import click

from llmproxy.common.config import ConfigError
from llmproxy.common.config_file import parse_policy
from llmproxy.common.policy import Policy
from llmproxy.launcher import exits

READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


def load_policy(file: Path | None) -> Policy:
    """The shipped policy without a file. Raises Failure, which names the file, the place and the fix."""
    if file is None:
        return Policy()
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise exits.Failure(f"{file}: is not UTF-8 at byte {error.start}", exits.CONFIGURATION) from error
    except OSError as error:
        raise exits.Failure(f"{file} cannot be read: {error.strerror}", exits.CONFIGURATION) from error
    return parsed_policy(text, str(file))


def parsed_policy(text: str, name: str) -> Policy:
    """As `load_policy`, of a text that is called `name`."""
    try:
        return parse_policy(text, os.environ)
    except ConfigError as error:
        raise exits.Failure(f"{name}: {error}", exits.CONFIGURATION) from error
