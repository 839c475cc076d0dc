"""An agent of twenty turns with parallel tools, streamed, written with each package: over every family the same final state."""

from collections.abc import Iterator

import pytest
from e2e.agent_world import TASK, TOOLS, TURNS, Store, expected, mind
from e2e.clients import CLIENTS, Client, Wish
from e2e.families import ENVIRONMENT, FAMILIES, Fakes, configuration
from gateway import Gateway

from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Capability

WISH = Wish(stream=True, tools=TOOLS)


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    with Fakes() as serving:
        yield serving


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, fakes: Fakes) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("agents")
    with Gateway(folder, configuration(fakes), environment=ENVIRONMENT) as started:
        yield started


@pytest.fixture(scope="module", params=CLIENTS, ids=[kind.name for kind in CLIENTS])
def client(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Client]:
    made = request.param(gateway.url, gateway.key)
    yield made
    made.close()


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


@pytest.mark.parametrize("family", FAMILIES)
def test_an_agent_ends_in_the_same_state(client: Client, family: str, fakes: Fakes) -> None:
    if Capability.PARALLEL_TOOLS not in ADAPTERS[FAMILIES[family].provider].capabilities:
        pytest.skip(f"{family} declares that it has no {Capability.PARALLEL_TOOLS}")
    upstream = fakes.behave(family, mind=mind)
    store = Store()
    last = keep(client, family, store)
    state, words = expected()
    assert store.state == state
    assert last == words
    assert len(upstream.requests) == TURNS


def test_the_mind_notices_what_is_lost() -> None:
    """A judge that notices nothing proves nothing."""
    from dataclasses import replace

    from upstreams import Asked

    from llmproxy.fakes.conversation import ToolResult, ToolUse, Turn

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
