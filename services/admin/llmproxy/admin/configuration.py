"""Which configuration is in force: read from the file or taken over the API, numbered, recorded, and published for all.

`file` and `environment`: the file decides, and is watched; the API refuses to write. `api`: the file is only the first
configuration of an empty gateway. A change is recorded before it is published; an unusable file changes nothing.
"""

import asyncio
import logging
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

from llmproxy.admin import problems
from llmproxy.admin.changes import Changes
from llmproxy.admin.problems import Problem
from llmproxy.admin.routes import Actor
from llmproxy.common import config as configuration
from llmproxy.common import config_checks, config_file, references
from llmproxy.common.bus import Bucket, Bus
from llmproxy.common.channels import CONFIG_BUCKET
from llmproxy.common.config import Config, ConfigError, Snapshot
from llmproxy.common.config_file import REFERENCE, Loader
from llmproxy.common.config_watch import CURRENT
from llmproxy.common.errors import GatewayError, Unavailable
from llmproxy.common.probes import Readiness
from llmproxy.common.switches import check_switches, with_firewall_on, with_switches

Source = Literal["file", "environment", "api"]
POLL_S = 0.2  # One look at the file's time.
DIFFERENCES_MAX = 200
FILE_BYTES_MAX = 1 << 20
NOT_GIVEN = (
    "is no variable that the provider workers have: `llmproxy up` gives them those that its own configuration names, and"
    " LLM_PROXY_ENDPOINT_<NAME>_KEY; export it under such a name and start `llmproxy up` again, or write file:PATH"
)

log = logging.getLogger(__name__)


class Difference(Struct, frozen=True, kw_only=True):
    """One place that changes. Values are left out: the configuration itself shows them."""

    path: str
    change: Literal["added", "removed", "changed"]


class Configuration:
    def __init__(
        self,
        bus: Bus,
        changes: Changes,
        readiness: Readiness,
        *,
        source: Source,
        path: str,
        environment: Mapping[str, str],
        directories: references.Directories = None,
        firewall_enabled: str = "",
        variables: Set[str] | None = None,
    ) -> None:
        """`directories`: where `file:` references may lead; `firewall_enabled`: what the environment says of it;
        `variables`: those that `env:` references can be resolved by, where that is known."""
        self.source: Source = source
        self.directories = references.within(directories, named=source != "api")
        self._firewall_enabled, self._variables = firewall_enabled, variables
        self._bus, self._changes, self._readiness = bus, changes, readiness
        self._path = Path(path) if path else None
        self._environment = environment
        self._actor = Actor(f"config {source}")
        self._bucket: Bucket | None = None
        self._seen: tuple[int, int, int] | None = None
        readiness.block("configuration", "what is published was not compared yet with the file and the environment")

    async def current(self) -> tuple[Snapshot | None, int]:
        """What is published, and its number in the bucket (not its revision)."""
        if self._bucket is None:
            self._bucket = await self._bus.wire.bucket(CONFIG_BUCKET)
        found = await self._bucket.get(CURRENT)
        if found is None:
            return None, 0
        return msgspec.json.decode(found[0], type=Snapshot), found[1]

    async def apply(self, config: Config, actor: Actor, expected: int | None = None) -> Snapshot:
        """Publishes it as the next revision; what is in force already stays as it is. Raises Problem on a conflict."""
        before, number = await self.current()
        revision = 0 if before is None else before.revision
        if expected is not None and expected != revision:
            raise problems.conflict(f"revision {revision} is in force, not {expected}; read it again")
        if before is not None and before.fingerprint == configuration.fingerprint(config):
            return before
        snapshot = Snapshot(revision=revision + 1, config=config, source=self.source)
        subject = f"revision {snapshot.revision} {snapshot.fingerprint}"
        await self._changes.record("config.applied", subject, actor)
        assert self._bucket is not None
        try:
            await self._bucket.update(CURRENT, msgspec.json.encode(snapshot), number)
        except GatewayError as error:
            await self._changes.record("config.not_applied", subject, actor)
            if error.code != "conflict":
                raise
            raise problems.conflict("somebody else changed the configuration meanwhile; read it again") from None
        log.info("configuration %s is published", subject)
        return snapshot

    def check_sent(self, config: Config, before: Config) -> None:
        """What only the operator's own file and environment may say. Raises ConfigError."""
        config_checks.check_reach(config, before)
        config_checks.check_files(config, self.directories)
        check_switches(config, before, self._firewall_enabled)
        self._check_variables(config, before)

    def _check_variables(self, config: Config, before: Config) -> None:
        """Workers have theirs from their start. What was named before may stay: it keeps nobody from changing something else."""
        known = {reference for endpoint in before.endpoints.values() for reference in endpoint.references.values()}
        for name, endpoint in config.endpoints.items():
            for field, reference in endpoint.references.items():
                variable = reference.removeprefix("env:")
                if self._variables is None or variable == reference or reference in known:
                    continue
                if variable not in self._variables:
                    raise ConfigError(f"endpoints.{name}.{field}: {variable} {NOT_GIVEN}")

    # The file.

    async def follow(self) -> None:
        """Publishes what the file says, now and after each change of it, until cancelled."""
        while True:
            signature = self._signature()
            if signature != self._seen:
                try:
                    await self._look()
                    self._seen = signature
                except (Unavailable, Problem) as error:
                    self._readiness.note("configuration", f"not published: {error.message}")
            await asyncio.sleep(POLL_S)

    async def _look(self) -> None:
        """Raises Unavailable, or Problem when another admin was faster; then it is worth looking again."""
        before = (await self.current())[0] if self.source == "api" else None
        try:
            config = with_switches(self._kept(before.config) if before else self._of_file(), self._firewall_enabled)
        except ConfigError as error:
            await self._refuse(str(error))
            return
        await self.apply(config, self._actor)
        self._readiness.note("configuration", "")
        self._readiness.block("configuration", "")

    def _kept(self, published: Config) -> Config:
        """What is published, without what only a variable said that says it no longer: the firewall is off as long as a file or the
        variable says so."""
        if published.firewall.enabled:
            return published
        try:
            is_off = not self._of_file().firewall.enabled
        except ConfigError:  # Of a file that counts for nothing else.
            is_off = False
        return published if is_off else with_firewall_on(published)

    async def _refuse(self, problem: str) -> None:
        snapshot, _ = await self.current()
        if snapshot is None:
            self._readiness.block("configuration", problem)
            log.error("the configuration cannot be used: %s", problem)
            return
        text = f"{problem}; revision {snapshot.revision} stays in force"
        self._readiness.note("configuration", text)
        self._readiness.block("configuration", "")
        log.error("the new configuration is refused: %s", text)

    def _of_file(self) -> Config:
        if self._path is None:
            return Config()
        config = _parse(self._read(self._path), self._environment)
        config_checks.check_files(config, self.directories)
        return config

    def _read(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        if len(raw) > FILE_BYTES_MAX:
            raise ConfigError(f"{path} is above {FILE_BYTES_MAX} bytes")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is not UTF-8") from None

    def _signature(self) -> tuple[int, int, int]:
        """Changes when the file does, also when it is replaced, as editors and Kubernetes do."""
        if self._path is None:
            return (0, 0, 0)
        try:
            status = self._path.stat()
        except OSError:
            return (-1, -1, -1)
        return (status.st_mtime_ns, status.st_size, status.st_ino)


async def parse_sent(text: str) -> Config:
    """A configuration from the API: nothing of this process' environment goes into it. Raises ConfigError.

    In a thread: YAML of the size limit takes a second, and the bus must not think that this process is gone.
    """
    reference = REFERENCE.search(text)
    if reference:
        raise ConfigError(f"{reference[0]} is replaced in files only; write the value, or env:{reference[1]} for a key")
    return await asyncio.to_thread(_parse_sent, text)


def _parse_sent(text: str) -> Config:
    if "&" in text and "*" in text and _has_alias(text):
        raise ConfigError("YAML aliases (*name) are not taken over the API; write the values out")
    return _parse(text, {})


def _parse(text: str, environment: Mapping[str, str]) -> Config:
    try:
        return config_file.parse(text, environment)
    except RecursionError:
        raise ConfigError("nested too deeply to be a configuration") from None


def _has_alias(text: str) -> bool:
    """An alias inside aliases makes a small text as large as one likes."""
    try:
        return any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=Loader))
    except (yaml.YAMLError, RecursionError):
        return False  # Parsing it says what is wrong.


def differences(before: Config, after: Config) -> list[Difference]:
    """The places where two configurations differ, at most DIFFERENCES_MAX."""
    old, new = _flat("", msgspec.to_builtins(before)), _flat("", msgspec.to_builtins(after))
    found = [
        Difference(path=path, change="removed" if path not in new else "added" if path not in old else "changed")
        for path in sorted({*old, *new})
        if path not in old or path not in new or old[path] != new[path]
    ]
    return found[:DIFFERENCES_MAX]


def _flat(path: str, tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict) or (path and not tree):
        return {path: tree}
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found.update(_flat(f"{path}.{name}" if path else name, value))
    return found
