"""What runs and how it is, as the instances say on the bus."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from patience import PATIENCE_S

from llmproxy.admin import federation
from llmproxy.admin.fleet import QUIET_S, SERVICES, STALE_S, Fleet
from llmproxy.common.channels import (
    EVENT_CIRCUIT_CLOSED,
    EVENT_CIRCUIT_OPENED,
    EVENT_INSTANCE_ANNOUNCED,
    EVENT_LEDGER_ADVANCED,
)
from llmproxy.common.records import Announcement, StepInfo
from llmproxy.common.testing import FakeBroker, FakeClock, fake_bus

STEP = StepInfo(name="secrets", ring=2, priority=10, timeout_ms=100, fail="closed")


def announcement(service: str, instance: str, **fields: Any) -> Announcement:
    return Announcement(at_ms=0, service=service, instance=instance, version="1", **fields)


def test_an_instance_that_is_not_heard_of_is_forgotten() -> None:
    clock = FakeClock()
    fleet = Fleet(clock)
    fleet.announced(announcement("edge", "edge-1"))
    clock.advance(STALE_S - 1)
    fleet.announced(announcement("edge", "edge-2"))
    assert [one.instance for one in fleet.instances()] == ["edge-1", "edge-2"]
    clock.advance(2)
    assert [one.instance for one in fleet.instances()] == ["edge-2"]


def test_the_gateway_is_ready_when_every_service_has_a_ready_instance() -> None:
    fleet = Fleet(FakeClock())
    for service in SERVICES:
        assert not fleet.ready
        fleet.announced(announcement(service, f"{service}-1", ready=False))
        fleet.announced(announcement(service, f"{service}-2"))
    assert fleet.ready
    fleet.announced(announcement("shield", "shield-2", ready=False))
    assert not fleet.ready


def test_an_instance_that_falls_silent_is_soon_not_ready_and_later_missing() -> None:
    clock = FakeClock()
    fleet = Fleet(clock)
    for service in SERVICES:
        fleet.announced(announcement(service, f"{service}-1", notes={"redis": "slow"}))
    clock.advance(QUIET_S)
    for service in SERVICES:
        if service != "shield":
            fleet.announced(announcement(service, f"{service}-1"))
    assert not fleet.ready
    assert fleet.missing == []
    assert [(one.service, one.notes) for one in fleet.instances() if not one.ready] == [
        ("shield", {"redis": "slow", "quiet": "not heard of for 8 s"})
    ]
    clock.advance(STALE_S - QUIET_S - 1)
    fleet.announced(announcement("shield", "shield-1"))
    assert fleet.ready
    clock.advance(QUIET_S - 1)
    assert not fleet.ready  # The others.
    clock.advance(STALE_S)
    fleet.announced(announcement("edge", "edge-1"))
    assert fleet.missing == [service for service in SERVICES if service != "edge"]


def test_status_shows_instances_circuits_configuration_and_the_ledgers_head(start_admin: Any, tmp_path: Path) -> None:
    path = tmp_path / "llmproxy.yaml"
    path.write_text("endpoints: {main: {provider: demo, models: [demo]}}")

    async def scenario() -> None:
        broker = FakeBroker()
        router = await fake_bus(broker, "router")
        audit = await fake_bus(broker, "audit")
        async with start_admin(broker, config=str(path)) as admin:
            router.publish(
                EVENT_INSTANCE_ANNOUNCED,
                announcement("router", "router-1", revision=1, in_flight=3, notes={"redis": "slow"}),
            )
            router.event(EVENT_CIRCUIT_OPENED, endpoint="main")
            router.event(EVENT_CIRCUIT_OPENED, endpoint="main", model="demo")
            router.event(EVENT_CIRCUIT_OPENED, endpoint="main", model="*")
            router.event(EVENT_CIRCUIT_OPENED, endpoint="other", model="else")
            audit.event(EVENT_LEDGER_ADVANCED, seq=7, head="ab", signature="cd")

            async def look() -> dict[str, Any]:
                status, body = await admin.call("GET", "/api/v1/status")
                assert status == 200
                found: dict[str, Any] = body
                return found

            async with asyncio.timeout(PATIENCE_S):
                while (now := await look())["ledger"] is None:
                    await asyncio.sleep(0.01)
            assert now["ledger"] == {"seq": 7, "head": "ab", "signature": "cd"}
            instances = {one["service"]: one for one in now["instances"]}
            assert instances["router"] == {
                "service": "router",
                "instance": "router-1",
                "version": "1",
                "revision": 1,
                "ready": True,
                "in_flight": 3,
                "notes": {"redis": "slow"},
            }
            assert instances["admin"]["ready"]
            assert not now["ready"]
            assert now["missing"] == ["edge", "shield", "provider-workers", "audit"]
            assert now["config"]["revision"] == 1
            assert now["endpoints"] == [
                {
                    "name": "main",
                    "provider": "demo",
                    "url": "",
                    "models": ["demo"],
                    "circuit": "open",
                    "failing": ["demo"],
                }
            ]
            router.event(EVENT_CIRCUIT_CLOSED, endpoint="main")
            async with asyncio.timeout(PATIENCE_S):
                while (await admin.call("GET", "/api/v1/endpoints"))[1]["endpoints"][0]["circuit"] != "closed":
                    await asyncio.sleep(0.01)
            assert (await admin.call("GET", "/api/v1/endpoints"))[1]["endpoints"][0]["failing"] == ["demo"]
            router.event(EVENT_CIRCUIT_CLOSED, endpoint="main", model="demo")
            async with asyncio.timeout(PATIENCE_S):
                while (await admin.call("GET", "/api/v1/endpoints"))[1]["endpoints"][0]["failing"]:
                    await asyncio.sleep(0.01)
            assert (await admin.call("GET", "/api/v1/version"))[1]["revision"] == 1

    asyncio.run(scenario())


def test_the_plugin_list_shows_each_step_once_with_how_many_run_it(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        bus = await fake_bus(broker, "shield")
        later = StepInfo(name="rebuild", ring=4, priority=1, timeout_ms=5, fail="open", source="plugin")
        async with start_admin(broker) as admin:
            for name in ("shield-1", "shield-2"):
                bus.publish(EVENT_INSTANCE_ANNOUNCED, announcement("shield", name, steps=[later, STEP]))
            await asyncio.sleep(0)
            status, body = await admin.call("GET", "/api/v1/plugins")
            assert status == 200
            listed = [(one["ring_name"], one["name"], one["service"], one["instances"]) for one in body["plugins"]]
            assert listed == [("pre-flight", "secrets", "shield", 2), ("post-flight", "rebuild", "shield", 2)]
            assert body["plugins"][1]["source"] == "plugin"

    asyncio.run(scenario())


def test_metrics_are_fetched_from_whoever_announced_itself(start_admin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "FETCH_TIMEOUT_S", PATIENCE_S)

    async def scenario() -> None:
        async def metrics(_: web.Request) -> web.Response:
            return web.Response(text="# TYPE up_here counter\nup_here 1\n")

        app = web.Application()
        app.router.add_get("/metrics", metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        broker = FakeBroker()
        bus = await fake_bus(broker, "edge")
        async with start_admin(broker) as admin:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            bus.publish(EVENT_INSTANCE_ANNOUNCED, announcement("edge", "edge-1", probes_url=url))
            bus.publish(EVENT_INSTANCE_ANNOUNCED, announcement("edge", "edge-2", probes_url="http://127.0.0.1:1"))
            await asyncio.sleep(0)
            status, text = await admin.call("GET", "/metrics")
        await runner.cleanup()
        assert status == 200
        assert 'up_here{service="edge",instance="edge-1"} 1' in text
        assert 'llmproxy_up{service="edge",instance="edge-2"} 0' in text

    asyncio.run(scenario())
