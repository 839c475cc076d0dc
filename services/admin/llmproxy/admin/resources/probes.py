"""`/livez`, `/readyz`, `/metrics` and `/openapi.json`."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from llmproxy.admin import openapi
from llmproxy.admin.routes import Call, Reply, Route
from llmproxy.common.probes import Readiness


class ProbesResource:
    def __init__(self, readiness: Readiness, metrics: Callable[[], Awaitable[str]], *, metrics_public: bool) -> None:
        self._readiness, self._metrics, self._metrics_public = readiness, metrics, metrics_public

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/livez",
                handle=self.livez,
                summary="This process answers",
                response=None,
                media="text/plain",
                is_public=True,
            ),
            Route(
                method="GET",
                path="/readyz",
                handle=self.readyz,
                summary="Whether admin is ready, and why not",
                response=None,
                is_public=True,
            ),
            Route(
                method="GET",
                path="/metrics",
                handle=self.metrics,
                summary="Metrics of every instance, in Prometheus' text format",
                response=None,
                media="text/plain",
                is_public=self._metrics_public,
            ),
        ]

    async def livez(self, _: Call) -> Reply:
        return Reply(body=b"ok\n")

    async def readyz(self, _: Call) -> Reply:
        body = msgspec.json.encode(self._readiness.report())
        return Reply(body=body, status=200 if self._readiness.ready else 503)

    async def metrics(self, _: Call) -> Reply:
        return Reply(body=(await self._metrics()).encode(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class OpenApiResource:
    """The document of all other routes, and of itself."""

    def __init__(self, others: Sequence[Route], version: str) -> None:
        self._others, self._version = others, version

    def routes(self) -> list[Route]:
        return [Route(method="GET", path="/openapi.json", handle=self.show, summary="This document", response=None)]

    async def show(self, _: Call) -> Reply:
        document = openapi.document([*self._others, *self.routes()], self._version)
        return Reply(body=msgspec.json.encode(document))
