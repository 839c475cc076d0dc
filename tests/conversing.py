"""Conversations of the Responses API in a test's own process: shields on any bus, a vendor that keeps the turns, and an edge that asks."""

import asyncio
import json
import re
import time
from typing import Any

from msgspec import Raw
from patience import PATIENCE_S

from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import REQUEST_INSPECT, REQUEST_ROUTE
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import Envelope
from llmproxy.common.frames import Data, End, Failure, Frame, Head
from llmproxy.common.policy import Injection, Policy
from llmproxy.common.segments import Segment
from llmproxy.common.testing import FakeClock, envelope
from llmproxy.shield import postflight, preflight
from llmproxy.shield.continuation import response_id
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.inspect import Inspect
from llmproxy.shield.verdict import ALLOW, Finding, Flag, Verdict

WAIT_S = PATIENCE_S


class Saying:
    """As suspicious as a text says that it is: `p=0.5`."""

    name = "injection"

    def may_hold(self, text: str) -> bool:
        return "p=" in text

    def inspect(self, segment: Segment) -> Verdict:
        found = re.search(r"p=(0\.\d+)", segment.text)
        return Flag((Finding("injection", 0, 5, "flag", float(found[1])),)) if found else ALLOW


class HereOffload:
    async def examine(self, order: Order, caller: str = "") -> Examined | Refused:
        return examine(order, preflight.pipeline((Saying(),)), FakeClock())


async def serve(shield: Bus, injection: Injection) -> None:
    """Each shield has the secret, and nothing else, in common with the others."""
    inspect = Inspect(
        shield,
        ConfigWatch(snapshot=Snapshot(revision=1, config=Config(policy=Policy(injection=injection)))),
        preflight=preflight.pipeline((Saying(),)),
        postflight=postflight.pipeline(),
        offload=HereOffload(),  # type: ignore[arg-type]
        mask_secret=b"secret",
        clock=FakeClock(),
        now=time.time,
    )
    await shield.serve(REQUEST_INSPECT, inspect, max_in_flight=64)


class Around:
    """An edge, and a vendor that numbers its answers and says which shield a request came through."""

    def __init__(self, edge: Bus) -> None:
        self.edge = edge
        self.routed: list[Envelope] = []
        self.numbers = iter(range(1, 1_000))
        self.padding = ""
        self.failure: Failure | None = None  # What the vendor says instead of an answer.
        self._asked = 0

    async def serve(self, vendor: Bus) -> None:
        await vendor.serve(REQUEST_ROUTE, self.answer, max_in_flight=64)

    def answer(self, asked: Envelope, answer: Answer) -> None:
        self.routed.append(asked)
        if self.failure is not None:
            answer.send(self.failure)
            return
        response = {"id": f"resp_{next(self.numbers)}", "output": [{"content": [{"text": "fine" + self.padding}]}]}
        begun = {"type": "response.created", "response": {"id": response["id"]}}
        done = {"type": "response.completed", "response": response}
        said = [begun, done] if asked.stream else [response]
        answer.send(Head(), *(Data(Raw(json.dumps(one).encode())) for one in said), End())

    async def ask(self, text: Any, tenant: str = "acme", stream: bool = False, **fields: Any) -> str:
        """The id of the answer, or the code of the error."""
        self._asked += 1
        body = {"model": "m", "input": text, **fields}
        address = self.edge.address
        sent = envelope(
            id=f"r{self._asked}",
            tenant=tenant,
            api="responses",
            stream=stream,
            edge=address,
            reply_to=address,
            body=Raw(json.dumps(body).encode()),
        )
        frames: list[Frame] = []
        over = asyncio.Event()

        def receive(come: Any) -> None:
            frames.extend(come)
            if isinstance(frames[-1], End | Failure):
                over.set()

        self.edge.expect(sent, receive)
        self.edge.forward(REQUEST_INSPECT, sent)
        async with asyncio.timeout(WAIT_S):
            await over.wait()
        last = frames[-1]
        if isinstance(last, Failure):
            return last.code
        found = [one for one in frames if isinstance(one, Data)]
        return response_id(bytes(found[0].json)) if not found[0].ref else f"resp_{next(self.numbers) - 1}"
