"""How this edge is, for whoever asks without a key: /livez, /readyz, /health, /version."""

import msgspec

from llmproxy.common.probes import Readiness
from llmproxy.edge.ingress import Settled
from llmproxy.edge.readiness import PathProbe
from llmproxy.edge.routes.table import Action


class Condition:
    def __init__(self, settled: Settled, probe: PathProbe, readiness: Readiness, version: str) -> None:
        self._settled, self._probe, self._readiness, self._version = settled, probe, readiness, version

    async def answer(self, action: Action, *, in_flight: int, draining: bool) -> tuple[int, bytes]:
        """Status and JSON."""
        match action:
            case Action.LIVEZ:
                return 200, b'{"status":"ok"}'
            case Action.READYZ:
                await self._probe.check()
                report = self._report(draining)
                return 200 if report["ready"] else 503, msgspec.json.encode(report)
            case Action.HEALTH:
                return 200, msgspec.json.encode(self._health(in_flight))
            case _:
                return 200, msgspec.json.encode(self._running())

    def _report(self, draining: bool) -> dict[str, object]:
        """Why this edge is ready or not. What the probe saw is not put into `readiness`: nobody may ever probe again."""
        blockers = self._blockers()
        if draining:
            blockers["stop"] = "draining"
        return {"ready": not blockers, "blockers": blockers, "notes": self._readiness.notes}

    def _health(self, in_flight: int) -> dict[str, object]:
        blockers = self._blockers()
        components = {name: {"status": "down", "reason": text} for name, text in blockers.items()}
        components |= {name: {"status": "degraded", "reason": text} for name, text in self._readiness.notes.items()}
        status = "down" if blockers else "degraded" if components else "ok"
        return {"status": status, "version": self._version, "components": components, "in_flight": in_flight}

    def _running(self) -> dict[str, object]:
        revision = self._settled.snapshot.revision
        return {"version": self._version, "revision": revision, "fingerprint": self._settled.fingerprint}

    def _blockers(self) -> dict[str, str]:
        return {**self._readiness.blockers, **self._probe.blockers}
