"""Liveness, readiness and metrics of one process, on a port of its own."""

from aiohttp import web
from msgspec import json
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, disable_created_metrics, generate_latest

from llmproxy.common import quiet_http


class Readiness:
    """Why this instance is, or is not, ready. A note is shown whatever the state; a blocker makes it unready."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.blockers: dict[str, str] = {"start": "starting"}

    @property
    def ready(self) -> bool:
        return not self.blockers

    def note(self, name: str, text: str) -> None:
        """An empty text removes the note."""
        if text:
            self.notes[name] = text
        else:
            self.notes.pop(name, None)

    def block(self, name: str, text: str) -> None:
        """An empty text removes the blocker."""
        if text:
            self.blockers[name] = text
        else:
            self.blockers.pop(name, None)

    def report(self) -> dict[str, object]:
        return {"ready": self.ready, "blockers": self.blockers, "notes": self.notes}


async def serve_probes(readiness: Readiness, host: str, port: int) -> tuple[web.AppRunner, str]:
    """Starts the listener (port 0: any free one); returns its runner and base URL."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        body = json.encode(readiness.report())
        return web.Response(body=body, status=200 if readiness.ready else 503, content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    disable_created_metrics()  # type: ignore[no-untyped-call]  # When each counter began: as many lines again.
    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = quiet_http.Runner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    bound = runner.addresses[0][1]
    return runner, f"http://{host}:{bound}"
