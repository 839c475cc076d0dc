"""What Google's adapter translates for others passes through for who speaks Gemini: the same wire cases, unchanged."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from google.genai.types import GenerateContentResponse

from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters.google import Google
from llmproxy.provider_workers.natives.gemini import Gemini
from llmproxy.provider_workers.wire import Origin, StreamTranslator, Target

CASES = sorted(path.parent for path in (Path(__file__).parent / "wire" / "google").glob("*/case.json"))
ANSWERS = [case for case in CASES if (case / "vendor_response.json").exists()]
STREAMS = [case for case in CASES if (case / "vendor_stream.txt").exists()]
HERE = Origin(id="r", model="m", created=1)
GEMINI = Gemini(Google.default_url)


def named(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def run(pieces: list[bytes]) -> tuple[StreamTranslator, list[bytes]]:
    translator = GEMINI.events(HERE)
    out = [event for piece in pieces for event in translator.feed(piece)]
    return translator, [*out, *translator.finish()]


@named(CASES)
def test_a_request_goes_as_it_is_to_the_models_place(case: Path) -> None:
    body, facts = (case / "vendor_request.json").read_bytes(), read(case / "case.json")
    target = Target(model=facts["target_model"], stream=(case / "vendor_stream.txt").exists())
    made = GEMINI.request(body, target)
    assert made.body is body
    assert made.url == facts["url"]
    assert made.dropped == ()


@named(ANSWERS)
def test_an_answer_comes_as_it_is_and_is_counted(case: Path) -> None:
    body, facts = (case / "vendor_response.json").read_bytes(), read(case / "case.json")
    answer = GEMINI.response(body, HERE)
    assert answer.json is body
    assert (answer.usage, answer.finish) == (Usage(**facts["usage"]), facts["finish"])
    GenerateContentResponse.model_validate_json(answer.json)


@named(STREAMS)
def test_a_stream_comes_as_it_is_however_the_network_cuts_it(case: Path) -> None:
    data, facts = (case / "vendor_stream.txt").read_bytes(), read(case / "case.json")
    expected = [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: ")]
    chance = random.Random(case.name)
    cuts = [[data], [data[at : at + 1] for at in range(len(data))]]
    for _ in range(5):
        at = sorted(chance.sample(range(1, len(data)), 12))
        cuts.append([data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)])
    chars = set()
    for pieces in cuts:
        translator, out = run(pieces)
        assert [json.loads(event) for event in out] == expected
        assert translator.complete
        assert (translator.usage, translator.finish_reason) == (Usage(**facts["usage"]), facts["finish"])
        chars.add(translator.text_chars)
    assert len(chars) == 1
    for event in expected:
        GenerateContentResponse.model_validate(event)


@named(STREAMS)
def test_a_stream_cut_short_is_never_taken_for_a_whole_answer(case: Path) -> None:
    data = (case / "vendor_stream.txt").read_bytes()
    last = max(data.rfind(b'"finishReason"'), data.rfind(b'"blockReason"'))
    for at in range(0, last, 7):
        translator, _ = run([data[:at]])
        assert not translator.complete
        assert translator.failure is not None
        assert translator.failure.code == "provider_stream_broken"


def test_a_model_in_the_body_gives_way_to_the_one_that_was_routed() -> None:
    body = b'{"contents": [], "model": "models/other", "newField": {"b": 1, "a": 2.50}}'
    made = GEMINI.request(body, Target(model="gemini-3-pro"))
    assert made.body == b'{"contents":[],"newField":{"b": 1, "a": 2.50}}'


def test_an_error_inside_a_stream_ends_it_and_keeps_what_came_before() -> None:
    translator = GEMINI.events(HERE)
    assert len(translator.feed(b'data: {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}\r\n\r\n')) == 1
    assert translator.feed(b'data: {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}\r\n\r\n') == []
    assert translator.finish() == []
    assert translator.failure is not None
    assert translator.failure.code == "provider_overloaded"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"candidates": 5}', b"\xff"])
def test_an_answer_that_cannot_be_read_is_a_failure(body: bytes) -> None:
    answer = GEMINI.response(body, HERE)
    assert answer.failure is not None
    assert answer.failure.code == "provider_bad_answer"


def test_an_event_of_several_lines_becomes_one() -> None:
    translator = GEMINI.events(HERE)
    out = translator.feed(b'data: {"candidates":\ndata: [{"finishReason": "STOP"}]}\n\n')
    assert [json.loads(event) for event in out] == [{"candidates": [{"finishReason": "STOP"}]}]
    assert b"\n" not in out[0]
