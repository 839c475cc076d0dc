"""`llmproxy config`: check, show and describe the configuration."""

import os
from pathlib import Path

import click
from msgspec import json

from llmproxy.common import config as configuration
from llmproxy.common.config import Config, ConfigError
from llmproxy.launcher import exits
from llmproxy.launcher.configuration import load_config, to_yaml, without_key, without_price, without_signature
from llmproxy.launcher.data_folder import DataFolder
from llmproxy.launcher.options import ask_admin, data_option

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def config() -> None:
    """Check, show and describe the configuration."""


@config.command(epilog=exits.epilog(exits.OK, exits.USAGE, exits.CONFIGURATION))
@click.argument("file", type=FILE, required=False)
def check(file: Path | None) -> None:
    """Say whether FILE (or, without it, the environment) is a configuration that can be used.

    Key references are checked for form, not for being set: the machine that checks need not hold the keys. Endpoints that
    nobody can call for want of a key, models without a price, and disabled signatures that do not exist, are named as warnings.
    """
    found = load(file)
    names = configuration.models(found)
    where = str(file) if file else "the environment"
    click.echo(
        f"{where} is valid: {len(found.endpoints)} endpoint{'s' * (len(found.endpoints) != 1)}, "
        f"{len(names)} model{'s' * (len(names) != 1)}, fingerprint {configuration.fingerprint(found)}"
    )
    if not found.endpoints:
        click.echo(
            "warning: it has no endpoints, so it can answer nothing; add them, as in llmproxy.example.yaml", err=True
        )
    for line in (*without_key(found), *without_price(found), *without_signature(found)):
        click.echo(f"warning: {line}", err=True)


@config.command(epilog=exits.epilog(exits.OK, exits.USAGE))
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.format(json.encode(configuration.schema()), indent=2))


@config.command(epilog=exits.epilog(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UNREACHABLE))
@click.argument("file", type=FILE, required=False)
@data_option
def show(file: Path | None, data: Path) -> None:
    """Print the configuration as YAML: with references, never with keys.

    FILE's; without it, the one that is in force in a gateway on the data folder, or else the one that `llmproxy up` would
    make from the environment.
    """
    is_running = file is None and data.is_dir() and DataFolder(data).run_info() is not None
    found = ask_admin(data, lambda admin: admin.config()) if is_running else load(file)
    click.echo(to_yaml(found), nl=False)


def load(file: Path | None) -> Config:
    try:
        return load_config(file, os.environ)
    except ConfigError as error:
        raise exits.Failure(str(error), exits.CONFIGURATION) from error
