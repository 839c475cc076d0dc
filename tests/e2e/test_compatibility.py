"""One suite for the official packages, unmodified, against every provider family behind the running gateway."""

import hashlib
import json
from collections.abc import Callable, Iterator

import pytest
from e2e.clients import CLIENTS, Client, Failure, Tool, Wish
from e2e.compatibility import ABILITIES, CANNOT, PAGE, YES, Matrix
from e2e.families import FAMILIES, Fakes
from gateway import Gateway

from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Capability

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da636460f85f0f0002870180eb47ba92"
    "0000000049454e44ae426082"
)
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
STOCK = Tool("read_stock", "How many there are", CITY)
PRICE = Tool("read_price", "What one costs", CITY)
LONG = 100_000
NEEDS: dict[str, frozenset[Capability]] = {
    "chat": frozenset({Capability.CHAT}),
    "stream": frozenset({Capability.STREAM}),
    "tools": frozenset({Capability.TOOLS, Capability.PARALLEL_TOOLS}),
    "image": frozenset({Capability.IMAGES}),
    "JSON schema": frozenset({Capability.JSON_SCHEMA}),
    "reasoning": frozenset({Capability.REASONING}),
}
HIDES_THOUGHTS = frozenset({"openai", "openai-responses", "azure", "perplexity"})
ERRORS = {400: 400, 401: 502, 404: 404, 429: 429, 500: 502, 503: 503}
"""What the provider says -> what the caller is told: a credential of ours is not the caller's fault."""


@pytest.fixture(scope="module")
def clients(families: Gateway) -> Iterator[dict[str, Client]]:
    made = {kind.name: kind(families.url, families.key) for kind in CLIENTS}
    yield made
    for client in made.values():
        client.close()


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return Matrix(tuple(kind.name for kind in CLIENTS), tuple(FAMILIES))


def chat(client: Client, family: str, fakes: Fakes) -> None:
    said = client.ask(family, client.user("Grüße 👋"), Wish())
    assert said.text == "You said: Grüße 👋"
    assert (said.input_tokens, said.output_tokens) == (12, 7)
    assert not said.calls


def stream(client: Client, family: str, fakes: Fakes) -> None:
    said = client.ask(family, client.user("Grüße 👋"), Wish(stream=True))
    assert said.text == "You said: Grüße 👋"
    assert (said.input_tokens, said.output_tokens) == (12, 7)
    assert said.pieces > 1
    assert not said.failed
    whole = client.ask(family, client.user("Grüße 👋"), Wish())
    assert said.finish == whole.finish


def tools(client: Client, family: str, fakes: Fakes) -> None:
    for streamed in (False, True):
        wish = Wish(stream=streamed, tools=(STOCK, PRICE))
        conversation = client.user("First read_stock and read_price.")
        first = client.ask(family, conversation, wish)
        assert [(name, arguments) for _, name, arguments in first.calls] == [
            ("read_stock", {"city": "First read_stock and read_price."}),
            ("read_price", {"city": "First read_stock and read_price."}),
        ]
        assert len({one for one, _, _ in first.calls}) == 2
        results = [(one, name, f"{name} says {number}") for number, (one, name, _) in enumerate(first.calls)]
        conversation += [*first.turn, *client.results(results)]
        second = client.ask(family, conversation, wish)
        assert second.text == "read_stock: read_stock says 0; read_price: read_price says 1"
        conversation += [*second.turn, *client.user("And now read_price again.")]
        third = client.ask(family, conversation, wish)
        assert [(name, arguments) for _, name, arguments in third.calls] == [
            ("read_price", {"city": "And now read_price again."})
        ]
        assert third.calls[0][0] not in {one for one, _, _ in first.calls} or third.calls[0][0].startswith("#")


def image(client: Client, family: str, fakes: Fakes) -> None:
    said = client.ask(family, client.user("What is this?", PIXEL), Wish())
    assert hashlib.sha256(PIXEL).hexdigest()[:8] in said.text


def schema(client: Client, family: str, fakes: Fakes) -> None:
    for streamed in (False, True):
        said = client.ask(family, client.user("Paris"), Wish(schema=CITY, stream=streamed))
        assert json.loads(said.text) == {"city": "Paris"}


def reasoning(client: Client, family: str, fakes: Fakes) -> None:
    for streamed in (False, True):
        said = client.ask(family, client.user("How many?"), Wish(reasoning=True, stream=streamed))
        assert said.text == "You said: How many?"
        assert said.reasoning == ("" if family in HIDES_THOUGHTS and said.reasoning == "" else "Let me think.")


def long(client: Client, family: str, fakes: Fakes) -> None:
    fakes.behave(family, text="0123456789" * (LONG // 10), piece_chars=1000)
    for streamed in (False, True):
        said = client.ask(family, client.user("Go on."), Wish(stream=streamed))
        assert said.text == "0123456789" * (LONG // 10)


def errors(client: Client, family: str, fakes: Fakes) -> None:
    for streamed in (False, True):
        for status, expected in ERRORS.items():
            overloaded = fakes.upstreams[family].vendor.overloaded
            fakes.behave(
                family,
                status=overloaded if status == 503 else status,
                message="the model is told to fail",
                retry_after="2",
            )
            with pytest.raises(Failure) as failed:
                client.ask(family, client.user("x"), Wish(stream=streamed))
            told = 529 if (expected, client.name) == (503, "anthropic") else expected
            assert failed.value.status == told, (status, failed.value.message)
            if status == 400:
                assert "told to fail" in failed.value.message
            if status == 429 and client.name != "google-genai":  # It does not show headers.
                assert failed.value.retry_after == "2"
    fakes.behave(family)
    with pytest.raises(Failure) as unknown:
        client.ask("no-such-family", client.user("x"), Wish())
    assert unknown.value.status == 404


def broken(client: Client, family: str, fakes: Fakes) -> None:
    text = "a long answer in many pieces " * 20
    upstream = fakes.behave(family, text=text, error_after=20)
    said = client.ask(family, client.user("x"), Wish(stream=True))
    assert said.failed
    assert said.text
    assert text.startswith(said.text)
    assert said.text != text
    assert len(upstream.requests) == 1, "after the first content nothing is tried again"


CHECKS: dict[str, Callable[[Client, str, Fakes], None]] = {
    "chat": chat,
    "stream": stream,
    "tools": tools,
    "image": image,
    "JSON schema": schema,
    "reasoning": reasoning,
    "long": long,
    "errors": errors,
    "broken": broken,
}
assert list(CHECKS) == list(ABILITIES)


@pytest.mark.parametrize("ability", CHECKS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [kind.name for kind in CLIENTS])
def test_package(
    kind: str, family: str, ability: str, clients: dict[str, Client], fakes: Fakes, matrix: Matrix
) -> None:
    client = clients[kind]
    fakes.behave(family)
    lacking = NEEDS.get(ability, frozenset()) - ADAPTERS[FAMILIES[family].provider].capabilities
    if not lacking:
        CHECKS[ability](client, family, fakes)
        matrix.cells[kind, family, ability] = YES
        return
    with pytest.raises(Failure) as refused:
        CHECKS[ability](client, family, fakes)
    assert refused.value.status == 400, refused.value.message
    assert "not supported" in refused.value.message
    assert not fakes.upstreams[family].requests, "what cannot be expressed is not sent"
    matrix.cells[kind, family, ability] = CANNOT
    pytest.skip(f"{family} declares that it has no {', '.join(sorted(lacking))}; refused by name")


def test_the_page_is_what_was_found(matrix: Matrix) -> None:
    if not matrix.is_complete:
        pytest.skip("only a part of the suite was run, or a part of it failed")
    committed = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    found = matrix.page()
    if committed != found:
        PAGE.write_text(found, encoding="utf-8")
    assert committed == found, "docs/compatibility.md has been written anew; look at what has changed, and commit it"
