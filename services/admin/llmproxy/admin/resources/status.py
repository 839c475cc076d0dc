"""`/api/v1/status`, `/plugins`, `/endpoints`, `/version`: what runs, where, and how it is."""

import platform
from collections.abc import Callable

from msgspec import Struct

from llmproxy.admin.fleet import Fleet, LedgerHead
from llmproxy.admin.routes import Call, Route
from llmproxy.common.config import Snapshot
from llmproxy.common.plugins.host import Ring
from llmproxy.common.records import Announcement, StepInfo


class Instance(Struct, frozen=True, kw_only=True):
    service: str
    instance: str
    version: str
    revision: int
    ready: bool
    in_flight: int
    notes: dict[str, str]


class Endpoint(Struct, frozen=True, kw_only=True):
    name: str
    provider: str
    url: str
    models: tuple[str, ...]
    circuit: str  # open | closed, as far as admin has heard since it runs.
    failing: tuple[str, ...]  # Models whose own circuit is open there; the others are called.


class Endpoints(Struct, frozen=True):
    endpoints: list[Endpoint]


class InForce(Struct, frozen=True, kw_only=True):
    revision: int
    fingerprint: str
    source: str


class Status(Struct, frozen=True, kw_only=True):
    ready: bool  # Every service has an instance that is ready.
    missing: list[str]  # Services without any instance.
    instances: list[Instance]
    endpoints: list[Endpoint]
    config: InForce
    ledger: LedgerHead | None  # None until the audit service signs a head while admin runs.


class Plugin(Struct, frozen=True, kw_only=True):
    """A step of a ring, and how many instances of its service run it."""

    name: str
    service: str
    ring: int
    ring_name: str
    priority: int
    timeout_ms: int
    fail: str
    source: str
    version: str
    enabled: bool
    instances: int


class Plugins(Struct, frozen=True):
    plugins: list[Plugin]


class Version(Struct, frozen=True, kw_only=True):
    version: str
    revision: int
    fingerprint: str
    python: str


class StatusResource:
    def __init__(self, fleet: Fleet, snapshot: Callable[[], Snapshot], version: str) -> None:
        self._fleet, self._snapshot, self._version = fleet, snapshot, version

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/api/v1/status",
                handle=self.status,
                summary="Instances, endpoints, configuration and the ledger's head",
                response=Status,
            ),
            Route(
                method="GET",
                path="/api/v1/plugins",
                handle=self.plugins,
                summary="Every step of every ring, and where it runs",
                response=Plugins,
            ),
            Route(
                method="GET",
                path="/api/v1/endpoints",
                handle=self.endpoints,
                summary="The configured endpoints and the state of their circuits",
                response=Endpoints,
            ),
            Route(
                method="GET",
                path="/api/v1/version",
                handle=self.version,
                summary="Version of the gateway and of its configuration",
                response=Version,
            ),
        ]

    async def status(self, _: Call) -> Status:
        snapshot = self._snapshot()
        return Status(
            ready=self._fleet.ready,
            missing=self._fleet.missing,
            instances=[_instance(one) for one in self._fleet.instances()],
            endpoints=self._endpoints(),
            config=InForce(revision=snapshot.revision, fingerprint=snapshot.fingerprint, source=snapshot.source),
            ledger=self._fleet.ledger,
        )

    async def plugins(self, _: Call) -> Plugins:
        return Plugins(plugins(self._fleet.instances()))

    async def endpoints(self, _: Call) -> Endpoints:
        return Endpoints(self._endpoints())

    async def version(self, _: Call) -> Version:
        snapshot = self._snapshot()
        return Version(
            version=self._version,
            revision=snapshot.revision,
            fingerprint=snapshot.fingerprint,
            python=platform.python_version(),
        )

    def _endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                name=name,
                provider=endpoint.provider,
                url=endpoint.url,
                models=endpoint.models,
                circuit="open" if self._fleet.is_open(name) else "closed",
                failing=self._fleet.failing(name),
            )
            for name, endpoint in self._snapshot().config.endpoints.items()
        ]


def _instance(one: Announcement) -> Instance:
    return Instance(
        service=one.service,
        instance=one.instance,
        version=one.version,
        revision=one.revision,
        ready=one.ready,
        in_flight=one.in_flight,
        notes=one.notes,
    )


def plugins(instances: list[Announcement]) -> list[Plugin]:
    """Ring by ring, in the order in which the steps run."""
    counted: dict[tuple[str, int, str], tuple[StepInfo, int]] = {}
    for one in instances:
        for step in one.steps:
            _, count = counted.get((one.service, step.ring, step.name), (step, 0))
            counted[one.service, step.ring, step.name] = (step, count + 1)
    found = [_plugin(service, step, count) for (service, _, _), (step, count) in counted.items()]
    return sorted(found, key=lambda plugin: (plugin.ring, plugin.priority, plugin.service, plugin.name))


def _plugin(service: str, step: StepInfo, instances: int) -> Plugin:
    known = step.ring in Ring._value2member_map_
    return Plugin(
        name=step.name,
        service=service,
        ring=step.ring,
        ring_name=Ring(step.ring).name.lower().replace("_", "-") if known else "unknown",
        priority=step.priority,
        timeout_ms=step.timeout_ms,
        fail=step.fail,
        source=step.source,
        version=step.version,
        enabled=step.enabled,
        instances=instances,
    )
