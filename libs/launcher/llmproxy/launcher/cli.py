"""The command line: what there is to ask for, and how it is spelled."""

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from llmproxy.common.config import ConfigError
from llmproxy.launcher import exits, gateway
from llmproxy.launcher.commands import audit, compose, config, fake_provider, keys, policy, scan, status
from llmproxy.launcher.data_folder import LOOPBACK, AlreadyRunningError, DataFolderError
from llmproxy.launcher.embedded import SERVERS
from llmproxy.launcher.environment import SERVICES
from llmproxy.launcher.listeners import CannotStartError
from llmproxy.launcher.options import Assignments, data_option

INSTANCES_MAX = 64
PORT = click.IntRange(0, 65_535)


@click.group(epilog=exits.EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """LLMProxy: a security gateway for large language models.

    Start with `llmproxy up`; it needs no configuration and prints a URL, an API key and a curl line. `status`, `keys` and
    `config show` ask the gateway that runs on the data folder, or the one at LLM_PROXY_ADMIN_URL with LLM_PROXY_ADMIN_TOKEN.
    """


@cli.command(epilog=exits.epilog(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.ALREADY_RUNNING, exits.CANNOT_START))
@click.option(
    "--config", "config_file", type=click.Path(dir_okay=False, path_type=Path), envvar="LLM_PROXY_CONFIG_FILE", show_envvar=True,
    help="YAML file. It is read again when it changes (or on SIGHUP). Default: made from the environment.",
)  # fmt: skip
@click.option(
    "--port", type=PORT, default=8090, show_default=True, envvar="LLM_PROXY_PORT", show_envvar=True,
    help="Of the gateway.",
)  # fmt: skip
@click.option(
    "--host", default=LOOPBACK, show_default=True, envvar="LLM_PROXY_HOST", show_envvar=True,
    help="Address of the gateway; 0.0.0.0 for every one of the machine's.",
)  # fmt: skip
@click.option(
    "--admin-port", type=PORT, default=8091, show_default=True, envvar="LLM_PROXY_ADMIN_PORT", show_envvar=True,
    help="Of the admin API.",
)  # fmt: skip
@click.option(
    "--admin-host", default=LOOPBACK, show_default=True, envvar="LLM_PROXY_ADMIN_HOST", show_envvar=True,
    help="Address of the admin API.",
)  # fmt: skip
@data_option
@click.option(
    "--scale", type=Assignments(SERVICES, 1, INSTANCES_MAX), default="", metavar="SERVICE=N,…",
    help="How many of a service run, as in shield=2,edge=2. Default: one of each.",
)  # fmt: skip
@click.option(
    "--ports", type=Assignments(SERVERS, 1, 65_535), default="", metavar="SERVER=PORT,…",
    help="Ports of nats, redis and postgres. Default: free ones, the same at every start.",
)  # fmt: skip
@click.option("--verbose", is_flag=True, help="Show the services' logs here too.")
def up(**options: Any) -> None:
    """Run the whole gateway: six services, nats-server, redis-server and PostgreSQL.

    Everything is kept in one data folder; a second start finds it again. Ctrl-C (or SIGTERM) finishes what is under way and
    stops everything; a second Ctrl-C hurries. SIGUSR1 restarts every service, one after another, without failing a request.

    \b
    Without --config, endpoints come from the environment:
      OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY and other vendors' (docs/support.md): an endpoint for each
      LLM_PROXY_ENDPOINT_<NAME>_URL, _PROVIDER, _MODELS (comma-separated), _KEY, _REGION, _PROJECT: one of your own
      Ollama (OLLAMA_HOST, or port 11434), vLLM (8000) and LM Studio (1234) when they answer;
      LLM_PROXY_LOCAL_DISCOVERY=0 does not ask them
    and with none of them, a `demo` endpoint answers. `llmproxy config show` prints it all as a file to go on from.

    \b
    Other variables:
      LLM_PROXY_API_KEYS     keys to accept, comma-separated
      LLM_PROXY_ADMIN_TOKEN  what the admin API asks for; default: made once, in <data>/admin.token
      LLM_PROXY_DRAIN_S      how long requests may take to finish when stopping; default 60
      LLM_PROXY_LOG_LEVEL    default INFO
      LLM_PROXY_FIREWALL_ENABLED  true or false; comes before the file's firewall.enabled
      LLM_PROXY_CONFIG_SOURCE     api: the admin API may change the configuration; default: it may not
      LLM_PROXY_SECRET_DIRS       directories, comma-separated, below which file: references may lead; default: anywhere from
                                  your own file, nowhere from the admin API
      LLM_PROXY_MASK_SECRET       what placeholders are made from; the same for all machines that share tenants
      LLM_PROXY_EMBEDDING_MODEL   the folder of a sentence-embedding model (docs/models/embedding.md)
      LLM_PROXY_JUDGE_KEY         the API key with which a judge model is asked (docs/policy.md)
    """
    run_gateway(gateway.Options(**options), os.environ)


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # On the disk, in the quota, below `ulimit -f`.


def run_gateway(options: gateway.Options, environment: Mapping[str, str]) -> None:
    try:
        gateway.Gateway(options, environment, say).run()
    except ConfigError as error:
        raise exits.Failure(str(error), exits.CONFIGURATION) from error
    except AlreadyRunningError as error:
        raise exits.Failure(str(error), exits.ALREADY_RUNNING) from error
    except (CannotStartError, DataFolderError) as error:
        raise exits.Failure(str(error), exits.CANNOT_START) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        text = f"cannot write to {options.data}: {error.strerror}; make room there, or choose another --data folder"
        raise exits.Failure(text, exits.CANNOT_START) from error


def say(line: str) -> None:
    """A line for the operator; a closed terminal must not stop the gateway."""
    try:
        click.echo(line)
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        return


@cli.command()
def version() -> None:
    """Print the version."""
    from importlib import metadata

    click.echo(f"llmproxy {metadata.version('llmproxy-launcher')}")


cli.add_command(config.config)
cli.add_command(keys.keys)
cli.add_command(status.status)
cli.add_command(audit.audit)
cli.add_command(scan.scan)
cli.add_command(policy.policy)
cli.add_command(fake_provider.fake_provider)
cli.add_command(compose.compose)
