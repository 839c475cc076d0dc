"""`llmproxy compose`: the secrets that docker-compose.yml mounts, one file for each who may know them."""

import secrets
from collections.abc import Callable
from pathlib import Path

import click

from llmproxy.launcher import exits
from llmproxy.launcher.data_folder import PASSWORD_BYTES, write_private
from llmproxy.launcher.detect import KEY_VARIABLES
from llmproxy.launcher.environment import SERVICES
from llmproxy.launcher.servers import nats
from llmproxy.launcher.servers.postgres import DATABASE, OWNER

NATS_PORT, REDIS_PORT, POSTGRES_PORT = 4222, 6379, 5432
NATS_STORE = "/data"


@click.group()
def compose() -> None:
    """Prepare docker-compose.yml's secrets."""


@compose.command(epilog=exits.epilog(exits.OK, exits.USAGE, exits.CANNOT_START))
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("compose"),
    show_default=True,
    help="Where docker-compose.yml looks for them.",
)
def init(folder: Path) -> None:
    """Make passwords and tokens once, and write the file of each service (mode 0600).

    Put provider keys into provider-workers.env, and client keys, if you like, into admin.env.
    """
    try:
        if any((folder / name).exists() for name in files(lambda: "")):
            raise exits.Failure(f"{folder} has secrets already; remove it to make new ones", exits.CANNOT_START)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files(lambda: secrets.token_urlsafe(PASSWORD_BYTES)).items():
            write_private(folder / name, content.encode())
    except OSError as error:
        raise exits.Failure(
            f"cannot write {folder}: {error.strerror}; choose another with --to", exits.CANNOT_START
        ) from error
    click.echo(
        f"{folder} is written. Next:\n"
        f"  provider keys into {folder / 'provider-workers.env'}, endpoints into llmproxy.yaml "
        "(where there is none, docker makes a folder of that name)\n"
        "  docker compose up --build --wait\n"
        f"  (set -a; . {folder / 'admin.env'}; llmproxy keys create --name first)"
    )


def files(new_secret: Callable[[], str]) -> dict[str, str]:
    """File name -> content. Each service's file holds what it may know and the others may not."""
    users = {user: new_secret() for user in nats.USERS}
    redis, postgres = new_secret(), new_secret()
    redis_url = f"redis://:{redis}@redis:{REDIS_PORT}/0"
    own: dict[str, dict[str, str]] = {
        "edge": {"LLM_PROXY_REDIS_URL": redis_url},
        "shield": {"LLM_PROXY_MASK_SECRET": new_secret()},
        "router": {"LLM_PROXY_REDIS_URL": redis_url},
        "provider-workers": {},
        "audit": {"LLM_PROXY_POSTGRES_DSN": f"postgresql://{OWNER}:{postgres}@postgres:{POSTGRES_PORT}/{DATABASE}"},
        "admin": {"LLM_PROXY_ADMIN_TOKEN": new_secret()},
    }
    written = {
        f"{service}.env": _lines({"LLM_PROXY_NATS_PASSWORD": users[service]} | own[service]) for service in SERVICES
    }
    written["provider-workers.env"] += "".join(f"# {variable}=\n" for variable in KEY_VARIABLES)
    written["shield.env"] += "# LLM_PROXY_JUDGE_KEY=\n"
    written["admin.env"] += "# LLM_PROXY_API_KEYS=\n"
    written["redis.env"] = _lines({"REDIS_PASSWORD": redis})
    written["postgres.env"] = _lines({"POSTGRES_USER": OWNER, "POSTGRES_PASSWORD": postgres, "POSTGRES_DB": DATABASE})
    written["nats-server.conf"] = nats.configuration(NATS_PORT, NATS_STORE, users, in_container=True)
    return written


def _lines(variables: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables.items())
