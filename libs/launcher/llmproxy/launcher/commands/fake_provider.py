"""`llmproxy fake-provider`: a provider that costs nothing, to try the gateway and one's own client against."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from llmproxy.fakes.conversation import Behaviour, Mind, Recorded
from llmproxy.fakes.families import FAMILIES, MODELS
from llmproxy.fakes.scripts import ScriptError, parse
from llmproxy.fakes.vendor import Vendor
from llmproxy.launcher import exits
from llmproxy.launcher.data_folder import LOOPBACK

if TYPE_CHECKING:  # To read it takes as long as the rest of the command line, and no other command needs a web server.
    from llmproxy.fakes.server import Upstream

SCRIPT_BYTES_MAX = 4 << 20
EXITS = exits.epilog(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.CANNOT_START).replace("configuration", "script")


@click.command("fake-provider", epilog=EXITS)
@click.option("--family", type=click.Choice(sorted(FAMILIES)), required=True, help="Whose API to speak.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Default: a free one.")
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option("--key", help="The credential it wants; '' wants none. Default: the one it prints.")
@click.option("--model", "models", multiple=True, help="Serve this model alone (may be repeated). Default: any name.")
@click.option(
    "--latency", "latency_ms", type=click.IntRange(0), default=0, metavar="MS", help="Milliseconds before each answer."
)
@click.option(
    "--chunk-delay", "chunk_delay_ms", type=click.IntRange(0), default=0, metavar="MS",
    help="Milliseconds between the events of a stream.",
)  # fmt: skip
@click.option(
    "--error-rate", type=click.FloatRange(0, 1), default=0.0, metavar="0..1",
    help="How many of the requests fail, with 429, 500 or the vendor's word for being overloaded.",
)  # fmt: skip
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What to answer: a YAML or JSON file.",
)
@click.option("--quiet", is_flag=True, help="Do not print a line for each request.")
def fake_provider(
    family: str,
    port: int,
    host: str,
    key: str | None,
    models: tuple[str, ...],
    latency_ms: int,
    chunk_delay_ms: int,
    error_rate: float,
    script: Path | None,
    quiet: bool,
) -> None:
    """Run a fake model provider, strict like the real one.

    It refuses what the vendor refuses (unknown fields and roles, a missing max_tokens, tool results without their call,
    schemas that it cannot read) with the vendor's own status and error body, streams in the vendor's own format, and
    always says the same to the same request: it repeats what it was told, calls the tools that it is offered, fills in
    the JSON schema that it is given, and thinks when asked to. The model no-such-model is never found.

    \b
    llmproxy fake-provider --family anthropic --port 9001
    llmproxy fake-provider --family openai --latency 300 --error-rate 0.05
    llmproxy fake-provider --family bedrock --script answers.yaml

    \b
    A script is a list of rules; the first whose conditions all hold answers:
      rules:
        - when: {says: weather}            # a regular expression in the last user text
          call: [{tool: weather, arguments: {city: Zurich}}]
        - when: {result_of: weather}       # the tool whose result came last
          text: "The service says: {result}"
        - when: {model: "gpt-*", turn: 2}  # also: stream: true
          status: 429                      # with message, retry_after
          times: 3                         # then this rule is spent
        - text: "You said: {said}"         # also: reasoning, finish, chunk_delay_ms, error_after, break_after
    """
    from llmproxy.fakes.server import Upstream

    vendor = FAMILIES[family]
    behaviour = Behaviour(
        key=key,
        mind=_mind(script),
        models=models,
        first_byte_s=latency_ms / 1000,
        chunk_delay_s=chunk_delay_ms / 1000,
        error_rate=error_rate,
    )
    upstream = Upstream(vendor, behaviour, remember=0)
    if not quiet:
        upstream.on_answer = _say
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(upstream, host, port))


def _mind(script: Path | None) -> Mind | None:
    if script is None:
        return None
    if script.stat().st_size > SCRIPT_BYTES_MAX:
        raise exits.Failure(f"{script} is larger than {SCRIPT_BYTES_MAX >> 20} MiB", exits.USAGE)
    try:
        return parse(script.read_text(encoding="utf-8"))
    except (ScriptError, UnicodeDecodeError) as error:
        raise exits.Failure(f"{script}: {error}", exits.CONFIGURATION) from error


async def _serve(upstream: "Upstream", host: str, port: int) -> None:
    from llmproxy.fakes.server import running

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with running(upstream, host=host, port=port) as url:
            click.echo(announcement(upstream, url))
            await stop.wait()
    except OSError as error:
        # asyncio's words of a taken port repeat the address; those of a name that does not resolve have a number below 0.
        said = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise exits.Failure(
            f"cannot listen on {host}:{port}: {said}; choose another with --host or --port", exits.CANNOT_START
        ) from error


def announcement(upstream: "Upstream", url: str) -> str:
    """The address, and what to write into the gateway's configuration for it."""
    vendor = upstream.vendor
    base = url + vendor.base
    model = upstream.behaviour.models[0] if upstream.behaviour.models else MODELS[vendor.name]
    lines = [
        f"{vendor.name} answers at {base}",
        "",
        "For the gateway:",
        "",
        _indented(snippet(vendor, base, model, upstream.key)),
    ]
    if upstream.key:
        lines += ["", f"with the key in its environment: {variable(vendor)}={upstream.key}"]
    return "\n".join([*lines, "", "Ctrl-C stops it."])


def snippet(vendor: Vendor, base: str, model: str, key: str) -> str:
    reference = f"env:{variable(vendor)}"
    endpoint: dict[str, Any] = {"provider": vendor.name, "url": base, "models": [model]}
    if vendor.name == "bedrock":
        endpoint["region"] = "us-east-1"  # Any; nothing is signed with an API key.
    if key and vendor.name == "vertex":
        endpoint["auth"] = {"kind": "bearer", "key": reference}
    elif key:
        endpoint["key"] = reference
    return yaml.safe_dump({"endpoints": {f"fake-{vendor.name}": endpoint}}, sort_keys=False).rstrip()


def variable(vendor: Vendor) -> str:
    return f"FAKE_{vendor.name.upper()}_KEY"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _say(recorded: Recorded, status: int) -> None:
    click.echo(f"{status} {recorded.method} {recorded.path}")
