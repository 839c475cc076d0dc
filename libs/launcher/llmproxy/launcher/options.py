"""Options and arguments that several commands share."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from llmproxy.launcher import exits
from llmproxy.launcher.admin_client import AdminClient, AdminError, RefusedError
from llmproxy.launcher.data_folder import DataFolder, RunInfo

F = TypeVar("F", bound=Callable[..., Any])
Result = TypeVar("Result")

DEFAULT_DATA = Path(".data")
ADMIN_URL = "LLM_PROXY_ADMIN_URL"
DEFAULT_ADMIN_URL = "http://127.0.0.1:8091"


def data_option(command: F) -> F:
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_DATA,
        show_default=True,
        envvar="LLM_PROXY_DATA",
        show_envvar=True,
        help="Folder of everything that is kept.",
    )(command)


class Assignments(click.ParamType[dict[str, int]]):
    """`name=number,…` with known names."""

    name = "assignments"

    def __init__(self, names: Sequence[str], least: int, most: int) -> None:
        self._names, self._least, self._most = names, least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        if isinstance(value, dict):
            return value
        return dict(self._assignment(part.strip(), param, ctx) for part in value.split(",") if part.strip())

    def _assignment(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        name, _, number = text.partition("=")
        if name not in self._names:
            self.fail(f"{name!r} is unknown; one of {', '.join(self._names)}", param, ctx)
        if not number.isdigit() or not self._least <= int(number) <= self._most:
            self.fail(f"{text!r}: write {name}=N with N from {self._least} to {self._most}", param, ctx)
        return name, int(number)


def ask_admin(data: Path, question: Callable[[AdminClient], Result]) -> Result:
    """Asks the gateway of this data folder (or of LLM_PROXY_ADMIN_URL). Raises Failure with the exit code."""
    try:
        return question(find_admin(data))
    except RefusedError as error:
        raise exits.Failure(str(error), exits.NOT_SO) from error
    except AdminError as error:
        raise exits.Failure(str(error), exits.UNREACHABLE) from error


def find_run(data: Path) -> RunInfo | None:
    """Of the gateway that runs on this folder, unless the environment names another one's admin."""
    folder = DataFolder(data)
    return folder.run_info() if folder.exists() and not os.environ.get(ADMIN_URL) else None


def find_admin(data: Path) -> AdminClient:
    info = find_run(data)
    url = os.environ.get(ADMIN_URL) or (info.admin_url if info else DEFAULT_ADMIN_URL)
    token = os.environ.get("LLM_PROXY_ADMIN_TOKEN") or _token_in(data)
    if not token:
        raise exits.Failure(
            f"no admin token: {data}/admin.token is not there; start a gateway with `llmproxy up`, name its folder "
            "with --data, or set LLM_PROXY_ADMIN_TOKEN",
            exits.UNREACHABLE,
        )
    return AdminClient(url, token)


def _token_in(data: Path) -> str:
    path = data / "admin.token"
    try:
        return path.read_text().strip() if path.is_file() else ""
    except PermissionError as error:
        raise exits.Failure(
            f"{path} belongs to another account; run this as the account that runs the gateway", exits.UNREACHABLE
        ) from error
