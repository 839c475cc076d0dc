"""What Anthropic says, its own callers read as it was said: every wire case of the family once more, passed through."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.wire import Origin, StreamTranslator, Target

CASES = sorted(path.parent for path in (Path(__file__).parent / "wire" / "anthropic").glob("*/case.json"))
STREAMS = [case for case in CASES if (case / "vendor_stream.txt").exists()]
ANSWERS = [case for case in CASES if (case / "vendor_response.json").exists()]
ORIGIN = Origin(id="r", model="mine", created=1)
NATIVE = ADAPTERS["anthropic"].natives["messages"]
EVENT = TypeAdapter[Any](RawMessageStreamEvent)


def named(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def run(pieces: list[bytes]) -> tuple[list[bytes], StreamTranslator]:
    stream = NATIVE.events(ORIGIN)
    return [event for piece in pieces for event in stream.feed(piece)] + stream.finish(), stream


def sent(case: Path) -> list[bytes]:
    """The vendor's events, without their SSE clothes."""
    lines = (case / "vendor_stream.txt").read_bytes().splitlines()
    return [line.partition(b":")[2].strip() for line in lines if line.startswith(b"data")]


@named(CASES)
def test_a_request_keeps_everything_but_its_model(case: Path) -> None:
    body = (case / "vendor_request.json").read_bytes()
    asked = json.loads(body)
    made = NATIVE.request(body, Target(model="claude-other", stream=bool(asked.get("stream"))))
    assert json.loads(made.body) == {**asked, "model": "claude-other"}
    assert list(json.loads(made.body)) == list(asked)
    assert made.url == "https://api.anthropic.com/v1/messages"
    assert NATIVE.request(body, Target(model=asked["model"], stream=bool(asked.get("stream")))).body == body


@named(ANSWERS)
def test_an_answer_keeps_everything_but_its_model(case: Path) -> None:
    facts = read(case / "case.json")
    found = NATIVE.response((case / "vendor_response.json").read_bytes(), ORIGIN)
    assert json.loads(found.json) == {**read(case / "vendor_response.json"), "model": "mine"}
    assert (found.usage, found.finish) == (Usage(**facts["usage"]), facts["finish"])
    Message.model_validate_json(found.json, strict=True)


@named(STREAMS)
def test_a_stream_keeps_every_event_and_counts_as_the_canonical_path_does(case: Path) -> None:
    facts = read(case / "case.json")
    out, stream = run([(case / "vendor_stream.txt").read_bytes()])
    assert [event for event in out if b"message_start" not in event] == [
        event for event in sent(case) if b"message_start" not in event
    ]
    [began] = [json.loads(event) for event in out if b"message_start" in event]
    assert began["message"]["model"] == "mine"
    assert stream.complete
    assert (stream.usage, stream.finish_reason) == (Usage(**facts["usage"]), facts["finish"])
    for event in out:
        if json.loads(event)["type"] != "ping":
            EVENT.validate_json(event, strict=True)


@named(STREAMS)
def test_a_stream_is_the_same_however_the_network_cuts_it(case: Path) -> None:
    data = (case / "vendor_stream.txt").read_bytes()
    whole, _ = run([data])
    assert run([data[at : at + 1] for at in range(len(data))])[0] == whole
    chance = random.Random(case.name)
    for _ in range(5):
        cuts = sorted(chance.sample(range(1, len(data)), 20))
        assert run([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])[0] == whole


@named(STREAMS)
def test_a_stream_without_its_last_event_is_broken(case: Path) -> None:
    data = (case / "vendor_stream.txt").read_bytes()
    for at in (0, len(data) // 3, data.rindex(b"message_stop", 0, data.rindex(b"message_stop"))):
        out, stream = run([data[:at]])
        assert not stream.complete
        assert stream.failure is not None
        assert stream.failure.code == "provider_stream_broken"
        assert not any(b"message_stop" in event for event in out)


def test_a_block_that_is_new_tomorrow_passes() -> None:
    events = [
        b'{"type":"message_start","message":{"model":"mine","usage":{"input_tokens":1}, "x":1}}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"hologram","beams":[1.0,2e3]}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"beam_delta","beam":{"a":1.10}}}',
        b'{"type":"interlude","seconds":5}',
        b'{"type":"message_stop"}',
    ]
    out, stream = run([b"".join(b"data: " + event + b"\n\n" for event in events)])
    assert out[1:] == events[1:]
    assert stream.complete


def test_thinking_that_another_vendor_thought_does_not_reach_this_one() -> None:
    """Its signatures are ours, and would be refused; what Anthropic signed stays to the byte."""
    body = (
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":['
        b'{"type":"thinking","thinking":"theirs","signature":"llmproxy:e30="},'
        b'{"type":"thinking", "thinking":"own","signature":"EqQB" , "x":1.0},{"type":"text","text":"A"}]},'
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"theirs","signature":"llmproxy:e30="}]}]}'
    )
    made = NATIVE.request(body, Target(model="m")).body
    assert b"theirs" not in made
    assert b'{"type":"thinking","thinking":"own","signature":"EqQB","x":1.0}' in made
    assert [turn["role"] for turn in json.loads(made)["messages"]] == ["user", "assistant"]
