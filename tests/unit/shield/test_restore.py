"""What comes back is unmasked wherever it stands, and a stream says the same as a whole answer."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError
from llmproxy.shield.restore.chat import Stream
from llmproxy.shield.restore.whole import Unmasking, Whole
from llmproxy.shield.vault import Vault, tenant_key, unmask

VAULT = Vault(tenant_key(b"secret", "acme"), frozenset)
EMAIL = VAULT.mask("email", "ada@example.com")
QUOTED = VAULT.mask("secret.private_key", 'line "one"\nline \\ two')
ORIGINALS = dict(VAULT.originals)
FOREIGN = "[EMAIL_0123456789abcdef]"


def answer(**message: Any) -> bytes:
    return json.dumps(
        {"id": "c-1", "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}
    ).encode()


def restored(event: bytes) -> Any:
    (out,) = Whole(Unmasking(ORIGINALS)).chunk(event)
    return json.loads(out)


@pytest.mark.parametrize(
    "message",
    [
        {"content": f"hi {EMAIL}"},
        {"content": [{"type": "text", "text": f"hi {EMAIL}"}]},
        {"content": None, "refusal": f"not to {EMAIL}"},
        {"content": "", "reasoning_content": f"it is {EMAIL}"},
        {"content": "x", "annotations": [{"url_citation": {"title": f"{EMAIL}", "url": "https://x"}}]},
        {"content": "x", "not_in_any_manual": {"a": [EMAIL]}},
    ],
)
def test_a_whole_answer_is_unmasked_in_every_text(message: dict[str, Any]) -> None:
    event = answer(**message)
    assert restored(event) == json.loads(event.decode().replace(EMAIL, "ada@example.com"))


def test_in_tool_call_arguments_the_original_is_written_so_that_they_parse() -> None:
    event = answer(content=None, tool_calls=[{"function": {"name": "f", "arguments": json.dumps({"key": QUOTED})}}])
    arguments = restored(event)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"key": 'line "one"\nline \\ two'}


def test_an_error_message_is_unmasked() -> None:
    assert restored(json.dumps({"error": {"message": f"no {EMAIL}"}}).encode()) == {
        "error": {"message": "no ada@example.com"}
    }


def test_an_answer_with_nothing_to_unmask_goes_on_byte_for_byte() -> None:
    event = b'{ "choices" : [ {"message": {"content": "[x] ' + FOREIGN.encode() + b'"}, "n": 1.50} ] }'
    assert Whole(Unmasking(ORIGINALS)).chunk(event) == [event]


def test_a_placeholder_that_the_provider_wrote_with_escapes_is_unmasked() -> None:
    event = answer(content="x").replace(b'"x"', f'"\\u005b{EMAIL[1:-1]}\\u005d"'.encode())
    assert restored(event)["choices"][0]["message"]["content"] == "ada@example.com"


def test_logprobs_go_where_unmasking_changed_their_text_and_stay_elsewhere() -> None:
    tree = {
        "choices": [
            {"index": 0, "message": {"content": f"hi {EMAIL}"}, "logprobs": {"content": [{"token": "hi"}]}},
            {"index": 1, "message": {"content": "hi"}, "logprobs": {"content": [{"token": "hi"}]}},
        ]
    }
    choices = restored(json.dumps(tree).encode())["choices"]
    assert choices[0]["logprobs"] is None
    assert choices[1]["logprobs"] == {"content": [{"token": "hi"}]}


# -- streams


def chunk(delta: dict[str, Any], *, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return json.dumps({"id": "c-1", "object": "chat.completion.chunk", "choices": [choice], **more}).encode()


def play(events: list[bytes]) -> list[dict[str, Any]]:
    stream = Stream(Unmasking(ORIGINALS))
    return [json.loads(out) for event in events for out in stream.chunk(event)] + [
        json.loads(out) for out in stream.end()
    ]


def texts(events: list[dict[str, Any]], name: str = "content", index: int = 0) -> str:
    return "".join(
        choice["delta"].get(name) or "" for event in events for choice in event["choices"] if choice["index"] == index
    )


def test_a_placeholder_split_over_deltas_comes_back_whole_and_before_the_finish() -> None:
    events = play([chunk({"role": "assistant", "content": ""}), *(chunk({"content": c}) for c in f"hi {EMAIL}!")])
    assert texts(events) == "hi ada@example.com!"


def test_what_is_held_back_leaves_before_the_finish_chunk() -> None:
    events = play([chunk({"content": "hi ["}), chunk({}, finish="stop")])
    assert [event["choices"][0]["delta"] for event in events] == [{"content": "hi "}, {"content": "["}, {}]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, "stop"]


def test_text_in_the_finish_chunk_itself_still_comes_before_what_it_completes() -> None:
    events = play([chunk({"content": "a["}), chunk({"content": "b["}, finish="stop")])
    assert texts(events) == "a[b["
    assert [event["choices"][0]["finish_reason"] for event in events][-1] == "stop"
    assert sum(1 for event in events if event["choices"][0]["finish_reason"]) == 1


def test_an_end_without_a_finish_releases_what_is_held() -> None:
    assert texts(play([chunk({"content": f"x {EMAIL[:9]}"})])) == f"x {EMAIL[:9]}"


def test_choices_do_not_share_a_window() -> None:
    events = play(
        [
            chunk({"content": EMAIL[:5]}, index=0),
            chunk({"content": "plain ["}, index=1),
            chunk({"content": EMAIL[5:]}, index=0),
            chunk({}, index=1, finish="stop"),
            chunk({}, index=0, finish="stop"),
        ]
    )
    assert texts(events, index=0) == "ada@example.com"
    assert texts(events, index=1) == "plain ["


def test_content_refusal_and_reasoning_do_not_share_a_window() -> None:
    half, rest = EMAIL[:7], EMAIL[7:]
    events = play([chunk({"content": half, "reasoning_content": half}), chunk({"refusal": rest, "content": rest})])
    assert texts(events) == "ada@example.com"
    assert texts(events, "reasoning_content") == half
    assert texts(events, "refusal") == rest


def test_arguments_of_two_tool_calls_are_unmasked_apart_and_parse() -> None:
    parts = json.dumps({"to": EMAIL, "key": QUOTED})

    def call(number: int, piece: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}

    events = play([chunk(call(number, c)) for c in parts for number in (0, 1)] + [chunk({}, finish="tool_calls")])
    for number in (0, 1):
        arguments = "".join(
            one["function"]["arguments"]
            for event in events
            for one in event["choices"][0]["delta"].get("tool_calls", ())
            if one["index"] == number
        )
        assert json.loads(arguments) == {"to": "ada@example.com", "key": 'line "one"\nline \\ two'}


def test_a_chunk_without_choices_passes_byte_for_byte() -> None:
    usage = b'{"id":"c-1","choices":[], "usage":{"total_tokens": 12}}'
    assert Stream(Unmasking(ORIGINALS)).chunk(usage) == [usage]
    lenient = b'{"id":"c-1","choices":null, "usage":{"total_tokens": 12}}'
    assert Stream(Unmasking(ORIGINALS)).chunk(lenient) == [lenient]


def test_a_chunk_that_changes_nothing_passes_byte_for_byte() -> None:
    event = b'{"choices": [ {"index":0, "delta":{"content":"hello"}, "finish_reason":null} ], "x": 1.50}'
    assert Stream(Unmasking(ORIGINALS)).chunk(event) == [event]


def test_logprobs_of_a_chunk_that_was_changed_are_dropped() -> None:
    tree = json.loads(chunk({"content": f"to {EMAIL}"}))
    tree["choices"][0]["logprobs"] = {"content": [{"token": EMAIL}]}
    (out,) = Stream(Unmasking(ORIGINALS)).chunk(json.dumps(tree).encode())
    assert json.loads(out)["choices"][0]["logprobs"] is None


def test_usage_is_not_repeated_in_a_chunk_that_the_shield_adds() -> None:
    events = play([chunk({"content": "["}, usage=None), chunk({}, finish="stop", usage={"total_tokens": 3})])
    assert [event["usage"] for event in events] == [None, None, {"total_tokens": 3}]


PARTS = st.lists(st.sampled_from([EMAIL, QUOTED, FOREIGN, EMAIL[:8], "[", "]", "text ", "ä", '"', "\\"]), max_size=8)


@settings(deadline=None)
@given(PARTS, st.lists(st.integers(0, 500), max_size=20), st.booleans())
def test_streamed_and_whole_answers_say_the_same(parts: list[str], cuts: list[int], finishes: bool) -> None:
    text = "".join(parts)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    events = [chunk({"content": piece}) for piece in pieces] + ([chunk({}, finish="stop")] if finishes else [])
    streamed = texts(play(events))
    assert streamed == restored(answer(content=text))["choices"][0]["message"]["content"] == unmask(text, ORIGINALS)


@pytest.mark.parametrize("kind", [Stream, Whole])
def test_an_answer_of_placeholders_is_refused_before_it_fills_the_memory(kind: type[Stream] | type[Whole]) -> None:
    placeholder = "[SECRET_0123456789abcdef]"
    restorer = kind(Unmasking({placeholder: "k" * 20_000}))
    choice = {"index": 0, "delta": {"content": placeholder * 10_000}}
    with pytest.raises(GatewayError):
        restorer.chunk(json.dumps({"choices": [choice]}).encode())
    choice = {"index": 0, "delta": {"content": placeholder * 100 + "x" * 100_000}}
    assert sum(map(len, restorer.chunk(json.dumps({"choices": [choice]}).encode()))) > 2_000_000
