"""`/api/v1/config`: what is in force, try a change, make it. Keys in it are references, so it can be shown whole."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from llmproxy.admin import problems
from llmproxy.admin.configuration import Configuration, Difference, differences, parse_sent
from llmproxy.admin.problems import Problem
from llmproxy.admin.routes import JSON, YAML, Call, Reply, Route
from llmproxy.common import config as configuration
from llmproxy.common import config_checks
from llmproxy.common.config import Config, ConfigError, Snapshot
from llmproxy.common.errors import Unavailable


class Published(Struct, frozen=True, kw_only=True):
    revision: int
    fingerprint: str
    source: Literal["file", "environment", "api"]
    config: Config


class Checked(Struct, frozen=True, kw_only=True):
    ok: bool
    problem: str = ""
    fingerprint: str = ""
    revision: int  # That is in force now.
    differences: list[Difference] = []


class ConfigResource:
    def __init__(self, store: Configuration, snapshot: Callable[[], Snapshot]) -> None:
        self._store, self._snapshot = store, snapshot

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/api/v1/config",
                handle=self.show,
                summary="The configuration in force; its revision is the ETag",
                response=Published,
            ),
            Route(
                method="PUT",
                path="/api/v1/config",
                handle=self.replace,
                summary="Replace the configuration; If-Match: <revision> makes sure of what it replaces",
                request=Config,
                accepts=(YAML, JSON),
                is_text=True,
                response=Published,
                problems=(409, 503),
            ),
            Route(
                method="POST",
                path="/api/v1/config/check",
                handle=self.check,
                summary="Say whether a configuration could be used, and what it would change",
                request=Config,
                accepts=(YAML, JSON),
                is_text=True,
                response=Checked,
            ),
        ]

    async def show(self, _: Call) -> Reply:
        return _published(await self._in_force())

    async def replace(self, call: Call) -> Reply:
        source = self._store.source
        if source != "api":
            where = "the file" if source == "file" else "the environment"
            raise problems.conflict(
                f"the configuration comes from {where}; change it there, or start with LLM_PROXY_CONFIG_SOURCE=api"
            )
        expected = _revision(call.headers.get("If-Match", ""))
        try:
            config = await parse_sent(call.body)
            self._store.check_sent(config, (await self._in_force()).config)
        except ConfigError as error:
            raise Problem(400, "invalid_config", str(error)) from None
        return _published(await self._store.apply(config, call.actor, expected))

    async def check(self, call: Call) -> Checked:
        now = await self._in_force()
        try:
            config = await parse_sent(call.body)
            if self._store.source == "api":
                self._store.check_sent(config, now.config)
            config_checks.check_files(config, self._store.directories)
        except ConfigError as error:
            return Checked(ok=False, problem=str(error), revision=now.revision)
        return Checked(
            ok=True,
            fingerprint=configuration.fingerprint(config),
            revision=now.revision,
            differences=differences(now.config, config),
        )

    async def _in_force(self) -> Snapshot:
        """From where it is published, so that who has just written it reads it; what we were told last if that is away."""
        try:
            return (await self._store.current())[0] or self._snapshot()
        except Unavailable:
            return self._snapshot()


def _published(snapshot: Snapshot) -> Reply:
    body = Published(
        revision=snapshot.revision,
        fingerprint=snapshot.fingerprint,
        source=snapshot.source,
        config=snapshot.config,
    )
    return Reply(body=body, headers={"ETag": f'"{snapshot.revision}"'})


def _revision(if_match: str) -> int | None:
    """`12`, `"12"`, or nothing and `*` for any."""
    text = if_match.strip().strip('"')
    if text in ("", "*"):
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Problem(400, "invalid_parameter", "If-Match is the number of a revision", "If-Match")
    return int(text)
