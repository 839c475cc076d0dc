"""What is the same for every service: settings from the environment, signals, the bus, configuration, probes, drain."""

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import metadata
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import msgspec
import uvloop
from msgspec import Meta, Struct

from llmproxy.common import nats_complaints, nats_wire, server_urls
from llmproxy.common.bus import Bus
from llmproxy.common.channels import EVENT_INSTANCE_ANNOUNCED
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.errors import Unavailable
from llmproxy.common.nats_wire import NatsWire
from llmproxy.common.probes import Readiness, serve_probes
from llmproxy.common.records import Announcement, StepInfo

PREFIX = "LLM_PROXY_"
ANNOUNCE_S = 5.0
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
WRONG_SETTINGS = os.EX_CONFIG  # The exit code: to start again with the same settings would not help.
FAILED = os.EX_SOFTWARE  # The exit code of one that hears of changes no more: the next one reads all of them.
GC_ALLOCATIONS = 10_000  # Requests leave no cycles behind; the default of 700 looks for them several times in each.

log = logging.getLogger(__name__)


DAY_S = 86_400.0  # Longer waits are typing errors, and those without an end keep a process from ending.
Seconds = Annotated[float, Meta(gt=0, le=DAY_S)]
Pause = Annotated[float, Meta(ge=0, le=DAY_S)]
Port = Annotated[int, Meta(ge=0, le=65_535)]


class Settings(Struct, frozen=True, kw_only=True):
    """Each field is the environment variable LLM_PROXY_<FIELD>. Services add their own."""

    nats_url: str = "nats://127.0.0.1:4222"  # Of nats-server, or of one of a cluster.
    nats_user: str = ""  # The service's own, with its row of permissions.
    nats_password: str = ""  # Of that user.
    nats_timeout_s: Seconds = nats_wire.TIMEOUT_S  # How long NATS and JetStream may take to answer.
    instance: str = ""  # Unique; default: the service's name and the process id.
    probes_host: str = "127.0.0.1"  # Where /livez, /readyz and /metrics are served.
    probes_port: Port = 0  # Of the probes; 0: any free port.
    drain_s: Pause = 60.0  # How long what is held may take to finish after SIGTERM.
    log_level: str = "INFO"  # DEBUG, INFO, WARNING, ERROR or CRITICAL.

    def problem(self) -> str:
        """What their types cannot tell: the variable and what is wrong with it, never its value."""
        return ""


S = TypeVar("S", bound=Settings)


class Context(Generic[S]):
    """What a service's `run` is given. It wires its handlers, marks itself ready, and waits for `stop`."""

    def __init__(self, service: str, settings: S, bus: Bus, config: ConfigWatch, readiness: Readiness) -> None:
        self.service, self.settings, self.bus, self.config, self.readiness = service, settings, bus, config, readiness
        self.stop = asyncio.Event()
        self.steps: list[StepInfo] = []  # What runs here; shown by the plugin list.
        self.probes_url = ""

    def ready(self) -> None:
        self.readiness.block("start", "")
        self.announce()

    def announce(self) -> None:
        announcement = Announcement(
            at_ms=int(time.time() * 1000),
            service=self.service,
            instance=self.bus.instance,
            version=version(),
            revision=self.config.snapshot.revision,
            ready=self.readiness.ready and not self.stop.is_set(),
            in_flight=len(self.bus.holds),
            probes_url=self.probes_url,
            steps=self.steps,
            notes={**self.readiness.notes, **self.readiness.blockers},
        )
        try:
            self.bus.publish(EVENT_INSTANCE_ANNOUNCED, announcement)
        except Unavailable:
            return


@cache
def version() -> str:
    """Of the package that is installed, which is read from its files."""
    return metadata.version("llmproxy-common")


def read_settings(kind: type[S], environment: Mapping[str, str]) -> S:
    """Raises ValueError naming the variable."""
    given = {
        field: environment[PREFIX + field.upper()]
        for field in kind.__struct_fields__
        if PREFIX + field.upper() in environment
    }
    for field, text in given.items():
        if not is_text(text):
            raise ValueError(f"{PREFIX}{field.upper()}: it is not UTF-8; set it again")
    try:
        settings = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("$.")[2].rstrip("`")
        raise ValueError(f"{PREFIX}{field.upper()}: {error}") from None
    if settings.log_level.upper() not in LOG_LEVELS:
        raise ValueError(f"{PREFIX}LOG_LEVEL: it is one of {', '.join(LOG_LEVELS)}")
    for field in server_urls.EXAMPLES.keys() & given:
        if wrong := server_urls.problem(given[field], server_urls.EXAMPLES[field]):
            raise ValueError(f"{PREFIX}{field.upper()}: {wrong}")
    if wrong := settings.problem():
        raise ValueError(PREFIX + wrong)
    return settings


def is_text(value: str) -> bool:
    """False where a byte of the environment was none: Python keeps it as a surrogate, which nothing can send or hash."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def serve(service: str, kind: type[S], run: Callable[[Context[S]], Awaitable[None]]) -> None:
    """The main of every service. Returns after a clean drain; exits with WRONG_SETTINGS when they are that, with FAILED when it
    had to end itself."""
    try:
        settings = read_settings(kind, os.environ)
    except ValueError as error:
        refuse_settings(service, str(error))
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    if not uvloop.run(_serve(service, settings, run)):
        sys.exit(FAILED)


def refuse_settings(service: str, reason: str) -> NoReturn:
    sys.stderr.write(f"llmproxy {service}: {reason}\n")
    sys.exit(WRONG_SETTINGS)


async def _serve(service: str, settings: S, run: Callable[[Context[S]], Awaitable[None]]) -> bool:
    """Whether it was told to stop."""
    instance = settings.instance or f"{service}-{os.getpid()}"
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    readiness = Readiness()
    runner, probes_url = await serve_probes(readiness, settings.probes_host, settings.probes_port)
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        """A key that was revoked would open on, and a configuration hold that was replaced: rather another process."""
        nats_wire.unheard(error)
        failures.append(error)
        stopping.set()

    starting = asyncio.create_task(_start(service, instance, settings, readiness, failed))
    if not await _first(starting, stopping):
        starting.cancel()
        await runner.cleanup()
        return not failures
    bus, config = starting.result()
    context = Context(service, settings, bus, config, readiness)
    context.stop, context.probes_url = stopping, probes_url
    config.on_change(lambda _: context.announce())
    announcing = asyncio.create_task(_announce(context))
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)
    try:
        await run(context)
    finally:
        stopping.set()
        readiness.block("stop", "draining")
        context.announce()
        announcing.cancel()
        await bus.drain(settings.drain_s)
        await runner.cleanup()
    log.info("%s has drained and stops", instance)
    return not failures


async def _start(
    service: str, instance: str, settings: Settings, readiness: Readiness, failed: Callable[[BaseException], None]
) -> tuple[Bus, ConfigWatch]:
    readiness.block("start", f"waiting for NATS at {nats_complaints.shown(settings.nats_url)}")
    wire = await NatsWire.connect(
        settings.nats_url,
        user=settings.nats_user,
        password=settings.nats_password,
        service=service,
        timeout_s=settings.nats_timeout_s,
        failed=failed,
    )
    bus = Bus(wire, service=service, instance=instance)
    await bus.start()
    config = ConfigWatch(bus)
    if service != "admin":  # It publishes the configuration that the others wait for.
        readiness.block("start", "waiting for a configuration; is admin running?")
        await config.start()
    return bus, config


async def _first(task: "asyncio.Task[Any]", stopping: asyncio.Event) -> bool:
    """Whether the task ended before we were told to stop."""
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return task.done()


async def _announce(context: Context[Any]) -> None:
    while True:
        context.announce()
        await asyncio.sleep(ANNOUNCE_S)
