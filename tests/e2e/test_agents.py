"""An agent of twenty turns with parallel tools, streamed, written with each package: over every family the same final state."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from e2e.agent_world import TASK, TOOLS, TURNS, Store, expected, mind
from e2e.clients import CLIENTS, Chat, Client, Messages, Wish
from e2e.families import FAMILIES, Fakes
from gateway import Gateway
from upstreams import Asked

from llmproxy.fakes.conversation import ToolResult, ToolUse, Turn
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Capability

WISH = Wish(stream=True, tools=TOOLS)


EVERY = (Chat, Messages)
SOME = ("anthropic", "google", "openai")  # What the other packages add is on their own side; it shows with any family.
PAIRS = [(kind, family) for kind in CLIENTS for family in (FAMILIES if kind in EVERY else SOME)]


@pytest.fixture(scope="module")
def clients(families: Gateway) -> Iterator[dict[type[Any], Client]]:
    made = {kind: kind(families.url, families.key) for kind in CLIENTS}
    yield made
    for client in made.values():
        client.close()


def keep(client: Client, family: str, store: Store) -> str:
    """The agent: asks, does what it is told, tells what came of it, until it is told nothing more to do."""
    conversation = client.user(TASK)
    for _ in range(TURNS):
        said = client.ask(family, conversation, WISH)
        conversation += said.turn
        if not said.calls:
            return said.text
        results = [(one, name, store.use(name, arguments)) for one, name, arguments in said.calls]
        conversation += client.results(results)
    raise AssertionError(f"still at work after {TURNS} turns")


@pytest.mark.parametrize(("kind", "family"), PAIRS, ids=[f"{kind.name}-{family}" for kind, family in PAIRS])
def test_an_agent_ends_in_the_same_state(
    kind: type[Any], family: str, clients: dict[type[Any], Client], fakes: Fakes
) -> None:
    if Capability.PARALLEL_TOOLS not in ADAPTERS[FAMILIES[family].provider].capabilities:
        pytest.skip(f"{family} declares that it has no {Capability.PARALLEL_TOOLS}")
    upstream = fakes.behave(family, mind=mind)
    store = Store()
    last = keep(clients[kind], family, store)
    state, words = expected()
    assert store.state == state
    assert last == words
    assert len(upstream.requests) == TURNS


def test_the_mind_notices_what_is_lost() -> None:
    """A judge that notices nothing proves nothing."""
    call, result = ToolUse("a", "put", {"item": "nuts", "count": 1}), ToolResult("a", "put", "nuts: 1")
    turns = (Turn("user", TASK), Turn("assistant", "", (call,)), Turn("user", results=(result,)))
    whole = mind(Asked(turns=turns))
    for lost in (
        (turns[0], turns[1], Turn("user", results=(replace(result, text="nuts: 2"),))),
        (turns[0], Turn("assistant", "", (replace(call, arguments={"item": "nuts"}),)), turns[2]),
        (turns[0], turns[1], Turn("user")),
        (Turn("user", f"{TASK} "), *turns[1:]),
    ):
        assert mind(Asked(turns=lost)) != whole
