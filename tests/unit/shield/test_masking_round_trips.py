"""Every API: what is masked on the way out never reaches the provider, and comes back unmasked however its answer is cut."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, Literal

import pytest
from anthropic.types import RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.policy import Policy
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.answers.asked import NOTHING
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.examine import Examined, Order, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.restore.whole import Unmasking
from llmproxy.shield.vault import tenant_key
from llmproxy.shield.window import Originals

EMAIL, CARD = "ann.lee@example.org", "4111 1111 1111 1111"
PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 4 + "-----END PRIVATE KEY-----"
SAID = f'Write "{EMAIL}" [twice]; pay with {CARD}.\n{PEM}\n[EMAIL_ is no placeholder, [EMAIL_0123456789abcdef] is not ours.'

Kind = Literal["text", "arguments"]
Tree = dict[str, Any]
RING = preflight.pipeline(GUARDS)


def masked(body: Tree) -> tuple[Tree, dict[str, str]]:
    """(what goes on, the originals)."""
    order = Order(body=json.dumps(body).encode(), policy=Policy(), key=tenant_key(b"secret", "acme"), max_depth=64)
    examined = examine(order, RING, FakeClock())
    assert isinstance(examined, Examined)
    assert examined.masked is not None
    for original in examined.originals.values():
        assert json.dumps(original)[1:-1].encode() not in examined.masked
    return json.loads(examined.masked), examined.originals


class Unfinished(Completion):
    """The package's type says that every chunk has a finish reason; the API does not."""

    choices: list[Any]  # type: ignore[assignment]


# -- one talker for each API: where a caller says something, and how a provider says it back


class Chat:
    api: Api = "chat"
    kinds: tuple[Kind, ...] = ("text", "arguments")
    judge: TypeAdapter[Any] = TypeAdapter(ChatCompletionChunk)
    places: ClassVar[dict[str, Callable[[str], Tree]]] = {
        "text": lambda value: {"messages": [{"role": "user", "content": value}]},
        "parts": lambda value: {"messages": [{"role": "user", "content": [{"type": "text", "text": value}]}]},
        "arguments": lambda value: {
            "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": json.dumps({"a": value})}}]}]
        },
        "result": lambda value: {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": value}]},
    }

    def whole(self, kind: Kind, text: str) -> Tree:
        message = (
            {"content": text} if kind == "text" else {"tool_calls": [{"function": {"name": "f", "arguments": text}}]}
        )
        return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    def heard(self, kind: Kind, answer: Tree) -> str:
        message = answer["choices"][0]["message"]
        return str(message["content"] if kind == "text" else message["tool_calls"][0]["function"]["arguments"])

    def events(self, kind: Kind, pieces: list[str]) -> Iterator[Tree]:
        yield self._chunk({"role": "assistant", "content": ""})
        for number, piece in enumerate(pieces):
            call = {"index": 0, "function": {"arguments": piece}} | (
                {} if number else {"id": "call_1", "type": "function"}
            )
            yield self._chunk({"content": piece} if kind == "text" else {"tool_calls": [call]})
        yield self._chunk({}, "stop")
        yield {
            **self._chunk({}),
            "choices": [],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    def _chunk(self, delta: Tree, finish: str | None = None) -> Tree:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    def streamed(self, kind: Kind, events: list[Tree]) -> str:
        deltas = [choice["delta"] for event in events for choice in event["choices"]]
        if kind == "text":
            return "".join(delta.get("content") or "" for delta in deltas)
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        return "".join(call["function"].get("arguments", "") for call in calls)


class Completions:
    api: Api = "completions"
    kinds: tuple[Kind, ...] = ("text",)
    judge: TypeAdapter[Any] = TypeAdapter(Unfinished)
    places: ClassVar[dict[str, Callable[[str], Tree]]] = {
        "text": lambda value: {"prompt": value},
        "list": lambda value: {"prompt": ["x", value]},
        "suffix": lambda value: {"prompt": "x", "suffix": value},
    }

    def whole(self, kind: Kind, text: str) -> Tree:
        return {"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}

    def heard(self, kind: Kind, answer: Tree) -> str:
        return str(answer["choices"][0]["text"])

    def events(self, kind: Kind, pieces: list[str]) -> Iterator[Tree]:
        for number, piece in enumerate(pieces):
            finish = "stop" if number == len(pieces) - 1 else None
            choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": finish}
            yield {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}

    def streamed(self, kind: Kind, events: list[Tree]) -> str:
        return "".join(choice["text"] for event in events for choice in event["choices"])


class Messages:
    api: Api = "messages"
    kinds: tuple[Kind, ...] = ("text", "arguments")
    judge: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    places: ClassVar[dict[str, Callable[[str], Tree]]] = {
        "text": lambda value: {"messages": [{"role": "user", "content": value}]},
        "system": lambda value: {"system": [{"type": "text", "text": value}], "messages": []},
        "arguments": lambda value: {
            "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": value}}]}]
        },
        "result": lambda value: {
            "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": value}]}]
        },
        "document": lambda value: {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": value}}
                    ],
                }
            ]
        },
    }  # fmt: skip

    def whole(self, kind: Kind, text: str) -> Tree:
        block = {"type": "text", "text": text} if kind == "text" else {"type": "tool_use", "input": json.loads(text)}
        return {"type": "message", "content": [block]}

    def heard(self, kind: Kind, answer: Tree) -> str:
        block = answer["content"][0]
        return str(block["text"]) if kind == "text" else json.dumps(block["input"])

    def events(self, kind: Kind, pieces: list[str]) -> Iterator[Tree]:
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None}
        usage = {"input_tokens": 1, "output_tokens": 1}
        yield {"type": "message_start", "message": {**message, "stop_sequence": None, "usage": usage}}
        text, call = {"type": "text", "text": ""}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}
        yield {"type": "content_block_start", "index": 0, "content_block": text if kind == "text" else call}
        for piece in pieces:
            said = {"type": "text_delta", "text": piece}
            argued = {"type": "input_json_delta", "partial_json": piece}
            yield {"type": "content_block_delta", "index": 0, "delta": said if kind == "text" else argued}
        yield {"type": "content_block_stop", "index": 0}
        stopped = {"stop_reason": "end_turn", "stop_sequence": None}
        yield {"type": "message_delta", "delta": stopped, "usage": {"output_tokens": 1}}
        yield {"type": "message_stop"}

    def streamed(self, kind: Kind, events: list[Tree]) -> str:
        assert [event["type"] for event in events if event["type"] != "content_block_delta"] == [
            "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"
        ]  # fmt: skip
        closed = next(place for place, event in enumerate(events) if event["type"] == "content_block_stop")
        deltas = [event["delta"] for event in events[:closed] if event["type"] == "content_block_delta"]
        assert len(deltas) == sum(event["type"] == "content_block_delta" for event in events), "a delta after its block"
        said = "".join(delta["text" if kind == "text" else "partial_json"] for delta in deltas)
        return said if kind == "text" else json.dumps(json.loads(said))


class Responses:
    api: Api = "responses"
    kinds: tuple[Kind, ...] = ("text", "arguments")
    judge: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    places: ClassVar[dict[str, Callable[[str], Tree]]] = {
        "text": lambda value: {"input": value},
        "instructions": lambda value: {"instructions": value, "input": "x"},
        "message": lambda value: {"input": [{"role": "user", "content": [{"type": "input_text", "text": value}]}]},
        "arguments": lambda value: {
            "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"a": value})}]
        },
        "result": lambda value: {"input": [{"type": "function_call_output", "call_id": "c", "output": value}]},
    }

    def whole(self, kind: Kind, text: str) -> Tree:
        return {"id": "r", "object": "response", "output": [self._item(kind, text)], "instructions": "be brief"}

    def _item(self, kind: Kind, text: str) -> Tree:
        if kind == "arguments":
            return {
                "id": "i",
                "type": "function_call",
                "call_id": "c",
                "name": "f",
                "arguments": text,
                "status": "completed",
            }
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        return {"id": "i", "type": "message", "role": "assistant", "content": [part], "status": "completed"}

    def heard(self, kind: Kind, answer: Tree) -> str:
        item = answer["output"][0]
        return str(item["content"][0]["text"] if kind == "text" else item["arguments"])

    def events(self, kind: Kind, pieces: list[str]) -> Iterator[Tree]:
        for number, event in enumerate(self._events(kind, pieces, "".join(pieces))):
            yield {**event, "sequence_number": number}

    def _events(self, kind: Kind, pieces: list[str], text: str) -> Iterator[Tree]:
        whole = {"created_at": 1, "model": "m", "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        at = {"item_id": "i", "output_index": 0}
        yield {"type": "response.created", "response": {**whole, "id": "r", "object": "response", "output": []}}
        yield {"type": "response.output_item.added", "output_index": 0, "item": self._item(kind, "")}
        if kind == "text":
            at["content_index"] = 0
        name = "response.output_text" if kind == "text" else "response.function_call_arguments"
        logprobs = {"logprobs": []} if kind == "text" else {}
        for piece in pieces:
            yield {"type": f"{name}.delta", **at, "delta": piece, **logprobs}
        done = {"text": text, "logprobs": []} if kind == "text" else {"arguments": text, "name": "f"}
        yield {"type": f"{name}.done", **at, **done}
        yield {"type": "response.output_item.done", "output_index": 0, "item": self._item(kind, text)}
        yield {"type": "response.completed", "response": {**whole, **self.whole(kind, text)}}

    def streamed(self, kind: Kind, events: list[Tree]) -> str:
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        said = "".join(event["delta"] for event in events if event["type"].endswith(".delta"))
        done, item, completed = events[-3:]
        assert done["text" if kind == "text" else "arguments"] == said
        assert self.heard(kind, {"output": [item["item"]]}) == said
        assert self.heard(kind, completed["response"]) == said
        return said


class Gemini:
    api: Api = "gemini"
    kinds: tuple[Kind, ...] = ("text",)
    judge: TypeAdapter[Any] = TypeAdapter(GenerateContentResponse)
    places: ClassVar[dict[str, Callable[[str], Tree]]] = {
        "text": lambda value: {"contents": [{"role": "user", "parts": [{"text": value}]}]},
        "system": lambda value: {"systemInstruction": {"parts": [{"text": value}]}, "contents": []},
        "arguments": lambda value: {
            "contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": value}}}]}]
        },
        "result": lambda value: {
            "contents": [{"role": "user", "parts": [{"function_response": {"name": "f", "response": {"a": value}}}]}]
        },
    }

    def whole(self, kind: Kind, text: str) -> Tree:
        return self._chunk([{"text": text}], "STOP")

    def heard(self, kind: Kind, answer: Tree) -> str:
        return "".join(part["text"] for part in answer["candidates"][0]["content"]["parts"])

    def events(self, kind: Kind, pieces: list[str]) -> Iterator[Tree]:
        for number, piece in enumerate(pieces):
            yield self._chunk([{"text": piece}], "STOP" if number == len(pieces) - 1 else None)

    def _chunk(self, parts: list[Tree], finish: str | None) -> Tree:
        candidate: Tree = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}, "modelVersion": "g"}

    def streamed(self, kind: Kind, events: list[Tree]) -> str:
        return "".join(self.heard(kind, event) for event in events)


TALKERS = (Chat(), Completions(), Messages(), Responses(), Gemini())
KINDS = [pytest.param(talker, kind, id=f"{talker.api}-{kind}") for talker in TALKERS for kind in talker.kinds]
PLACES = [pytest.param(talker, place, id=f"{talker.api}-{place}") for talker in TALKERS for place in talker.places]


def restored(talker: Any, events: list[Tree], originals: dict[str, str], *, stream: bool = True) -> list[Tree]:
    way_back = restorer(talker.api, Unmasking(originals), stream=stream)
    out = [one for event in events for one in way_back.chunk(json.dumps(event).encode())] + way_back.end()
    return [json.loads(one) for one in out]


def texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from texts(inner)


def longest(tree: Any) -> str:
    return max(texts(tree), key=len)


@pytest.mark.parametrize(("talker", "place"), PLACES)
def test_nothing_masked_reaches_the_provider_from_any_place_and_its_echo_comes_back_as_it_was(
    talker: Any, place: str
) -> None:
    body, originals = masked(talker.places[place](SAID))
    assert set(originals.values()) == {EMAIL, CARD, PEM}
    (answer,) = restored(talker, [talker.whole("text", longest(body))], originals, stream=False)
    heard = talker.heard("text", answer)
    if heard.startswith("{"):  # A document, which stays one.
        (heard,) = json.loads(heard).values()
    for original in originals.values():
        assert original in heard


def spoken(kind: Kind) -> tuple[str, str, dict[str, str]]:
    """(what a provider says, what the caller is to hear, the originals)."""
    body, originals = masked({"messages": [{"role": "user", "content": SAID}]})
    said = body["messages"][0]["content"]
    if kind == "text":
        return said, SAID, originals
    return json.dumps({"note": said, "also": [said]}), json.dumps({"note": SAID, "also": [SAID]}), originals


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut for cut in cuts if 0 < cut < len(text))})
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(("talker", "kind"), KINDS)
def test_a_whole_answer_comes_back_as_it_was_said(talker: Any, kind: Kind) -> None:
    said, meant, originals = spoken(kind)
    (answer,) = restored(talker, [talker.whole(kind, said)], originals, stream=False)
    heard = talker.heard(kind, answer)
    assert (json.loads(heard) == json.loads(meant)) if kind == "arguments" else heard == meant


@pytest.mark.parametrize(("talker", "kind"), KINDS)
def test_every_cut_in_two_gives_the_same(talker: Any, kind: Kind) -> None:
    said, meant, originals = spoken(kind)
    for cut in range(1, len(said)):
        events = restored(talker, list(talker.events(kind, pieces(said, [cut]))), originals)
        heard = talker.streamed(kind, events)
        assert (json.loads(heard) == json.loads(meant)) if kind == "arguments" else heard == meant, f"cut at {cut}"


@pytest.mark.parametrize(("talker", "kind"), KINDS)
@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 900), max_size=40))
def test_any_cut_gives_the_same(talker: Any, kind: Kind, cuts: list[int]) -> None:
    said, meant, originals = spoken(kind)
    events = restored(talker, list(talker.events(kind, pieces(said, cuts))), originals)
    heard = talker.streamed(kind, events)
    assert (json.loads(heard) == json.loads(meant)) if kind == "arguments" else heard == meant


@pytest.mark.parametrize(("talker", "kind"), KINDS)
def test_one_character_at_a_time_gives_the_same_in_events_that_the_vendors_types_accept(
    talker: Any, kind: Kind
) -> None:
    said, meant, originals = spoken(kind)
    before = list(talker.events(kind, list(said)))
    events = restored(talker, before, originals)
    heard = talker.streamed(kind, events)
    assert (json.loads(heard) == json.loads(meant)) if kind == "arguments" else heard == meant
    for event in (*before, *events):
        talker.judge.validate_python(event)


@pytest.mark.parametrize(("talker", "kind"), KINDS)
def test_a_stream_that_breaks_off_gives_what_was_held_back(talker: Any, kind: Kind) -> None:
    said, _, originals = spoken(kind)
    at = said.index("[EMAIL_") + 9
    events = list(talker.events(kind, list(said)))
    first = next(place for place, event in enumerate(events) if said[0] in pieces_of(event))
    broken = restored(talker, events[: first + at], originals)
    assert "".join(piece for event in broken for piece in pieces_of(event)) == said[:at]
    for event in broken:
        talker.judge.validate_python(event)


def pieces_of(event: Tree) -> list[str]:
    """The texts of a delta, in whichever API."""
    names = ("content", "arguments", "text", "partial_json", "delta")
    found = []
    for name, value in event.items():
        if name in names and isinstance(value, str):
            found.append(value)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                found += pieces_of(inner)
    return found


@pytest.mark.parametrize("talker", TALKERS, ids=lambda talker: talker.api)
def test_an_event_of_the_future_is_unmasked_whole(talker: Any) -> None:
    _, _, originals = spoken("text")
    placeholder = next(iter(originals))
    event = {"type": "brand.new", "field": {"deep": [f"it is {placeholder}"], placeholder: 1}}
    (out,) = restored(talker, [event], originals)
    assert out == {
        "type": "brand.new",
        "field": {"deep": [f"it is {originals[placeholder]}"], originals[placeholder]: 1},
    }


# -- what a provider says of its own accord is read in the same places

TOKEN = "ghp_Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
SMUGGLED = "\u200b\u200c" * 12
READS = Guards(GUARDS, Policy())
BLOCKS = Guards(GUARDS, structs.replace(Policy(), answers=Answers(kinds={"secret": "block"})))


def inspected(
    talker: Any, events: list[Tree], originals: dict[str, str], *, stream: bool, guards: Guards = READS
) -> tuple[list[Tree], dict[str, int]]:
    is_repeated = stream and talker.api == "responses"
    reading = Reading(guards, NOTHING, Originals(originals), clock=lambda: 0.0, is_repeated=is_repeated)
    way_back = restorer(talker.api, reading, stream=stream)
    out = [one for event in events for one in way_back.chunk(json.dumps(event).encode())] + way_back.end()
    return [json.loads(one) for one in out], reading.findings.counts


def betrayed(kind: Kind) -> tuple[str, str, dict[str, str]]:
    """(what a provider says, what the caller is to hear, the originals)."""
    body, originals = masked({"messages": [{"role": "user", "content": EMAIL}]})
    placeholder = body["messages"][0]["content"]
    said, meant = f"To {placeholder}: use {TOKEN} a{SMUGGLED}s key.", f"To {EMAIL}: use [SECRET_REDACTED] as key."
    if kind == "text":
        return said, meant, originals
    return json.dumps({"note": said}, ensure_ascii=False), json.dumps({"note": meant}), originals


FOUND = {"answer.secret.github": 1, "answer.invisible": 1}


@pytest.mark.parametrize(("talker", "kind"), KINDS)
def test_what_is_taken_out_of_a_whole_answer_is_taken_out_of_every_stream_of_it_and_counted_once(
    talker: Any, kind: Kind
) -> None:
    said, meant, originals = betrayed(kind)
    (answer,), found = inspected(talker, [talker.whole(kind, said)], originals, stream=False)
    assert talker.heard(kind, answer) == meant
    assert found == FOUND
    for cuts in (list(range(1, len(said))), [13, 40, 60], [len(said) - 3]):
        events, found = inspected(talker, list(talker.events(kind, pieces(said, cuts))), originals, stream=True)
        assert talker.streamed(kind, events) == meant
        assert found == FOUND
        assert TOKEN[8:] not in json.dumps(events)
        for event in events:
            talker.judge.validate_python(event)


@pytest.mark.parametrize(("talker", "kind"), KINDS)
def test_what_is_blocked_ends_the_answer_in_every_api_before_any_of_it_is_said(talker: Any, kind: Kind) -> None:
    said, _, originals = betrayed(kind)
    with pytest.raises(Stopped):
        inspected(talker, [talker.whole(kind, said)], originals, stream=False, guards=BLOCKS)
    reading = Reading(BLOCKS, NOTHING, Originals(originals), clock=lambda: 0.0)
    way_back = restorer(talker.api, reading, stream=True)
    sent: list[bytes] = []

    def stream() -> None:
        for event in talker.events(kind, list(said)):
            sent.extend(way_back.chunk(json.dumps(event).encode()))
        sent.extend(way_back.end())

    with pytest.raises(Stopped):
        stream()
    assert TOKEN[:10] not in "".join(piece for event in sent for piece in pieces_of(json.loads(event)))
