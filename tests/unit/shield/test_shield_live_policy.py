"""A change of policy holds for the next request on every shield, without a restart."""

import asyncio
from typing import Any

import msgspec
from patience import PATIENCE_S
from shields import Router, start_shield

from llmproxy.common.channels import CONFIG_BUCKET
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.config_watch import CURRENT
from llmproxy.common.policy import Policy
from llmproxy.common.testing import FakeBroker, FakeWire, fake_bus


async def publish(broker: FakeBroker, revision: int, policy: dict[str, Any]) -> None:
    """As admin does."""
    snapshot = Snapshot(revision=revision, config=Config(policy=msgspec.convert(policy, Policy)))
    bucket = await FakeWire(broker).bucket(CONFIG_BUCKET)
    await bucket.put(CURRENT, msgspec.json.encode(snapshot))


def test_every_shield_applies_a_new_policy_to_the_next_request() -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        await publish(broker, 1, {})
        router = Router(await fake_bus(broker, "edge"))
        await router.serve(await fake_bus(broker, "router"))
        watches = [await start_shield(await fake_bus(broker, "shield", name)) for name in ("shield-1", "shield-2")]
        assert await router.passes() == {False}
        for revision, policy, passes in (
            (2, {"kinds": {"email": "flag"}}, True),
            (3, {"kinds": {"email": "mask"}}, False),
            (
                4,
                {
                    "kinds": {"email": "flag"},
                    "rails": {"rules": [{"name": "a", "pattern": "a[d]a@", "action": "replace"}]},
                },
                False,
            ),
            (
                5,
                {
                    "kinds": {"email": "flag"},
                    "rails": {"rules": [{"name": "a", "pattern": "b[d]b@", "action": "replace"}]},
                },
                True,
            ),
            (6, {"overrides": [{"when": {"tenants": ["*"]}, "kinds": {"email": "allow"}}]}, True),
        ):
            await publish(broker, revision, policy)
            while {watch.snapshot.revision for watch in watches} != {revision}:
                await asyncio.sleep(0)
            assert await router.passes() == {passes}

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario()

    asyncio.run(main())
