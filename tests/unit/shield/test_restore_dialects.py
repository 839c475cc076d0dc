"""What is particular in the way back of each API: seals, numbers of events, parts of candidates, what measures a text."""

import json
from typing import Any

import pytest

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.shield.restore import restorer
from llmproxy.shield.restore.whole import Unmasking, Whole
from llmproxy.shield.vault import Vault, tenant_key

VAULT = Vault(tenant_key(b"secret", "acme"), frozenset)
EMAIL = VAULT.mask("email", "ada@example.com")
QUOTED = VAULT.mask("secret.private_key", 'line "one"\nline \\ two')
ORIGINALS = dict(VAULT.originals)
HALF, REST = EMAIL[:9], EMAIL[9:]

Tree = dict[str, Any]


def play(api: Api, *events: Tree, stream: bool = True) -> list[Tree]:
    way_back = restorer(api, Unmasking(ORIGINALS), stream=stream)
    out = [one for event in events for one in way_back.chunk(json.dumps(event).encode())]
    return [json.loads(one) for one in out + way_back.end()]


@pytest.mark.parametrize("api", ["chat", "completions", "messages", "responses", "gemini", "embeddings", "rerank"])
@pytest.mark.parametrize("event", [b'"base64"', b"[1, 2]", b"null", b'{ "a" : 1.50 }', b'["x"]'])
def test_what_holds_nothing_of_ours_passes_byte_for_byte_whatever_it_is(api: Api, event: bytes) -> None:
    for stream in (True, False):
        assert restorer(api, Unmasking(ORIGINALS), stream=stream).chunk(event) == [event]


@pytest.mark.parametrize("event", [b"{", b'{"a":"\xff[EMAIL_"}', b'{"\\u005":1}'])
def test_an_answer_that_cannot_be_read_is_the_providers_fault(event: bytes) -> None:
    event = event.replace(b"{", b"{" + EMAIL.encode(), 1)
    with pytest.raises(GatewayError) as raised:
        Whole(Unmasking(ORIGINALS)).chunk(event)
    assert raised.value.code == "provider_bad_answer"


def test_a_list_and_a_string_are_unmasked_too() -> None:
    assert Whole(Unmasking(ORIGINALS)).chunk(json.dumps([EMAIL]).encode()) == [b'["ada@example.com"]']
    assert Whole(Unmasking(ORIGINALS)).chunk(json.dumps(EMAIL).encode()) == [b'"ada@example.com"']


# -- messages


def delta(index: int, **fields: Any) -> Tree:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def test_signed_thinking_goes_to_the_caller_as_it_was_signed() -> None:
    block = {"type": "thinking", "thinking": f"to {EMAIL}", "signature": "QUtJ"}
    whole = {"type": "message", "content": [block, {"type": "text", "text": EMAIL}]}
    assert play("messages", whole, stream=False) == [
        {"type": "message", "content": [block, {"type": "text", "text": "ada@example.com"}]}
    ]
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {**block, "signature": ""}},
        delta(0, type="thinking_delta", thinking=EMAIL),
        delta(0, type="signature_delta", signature="QUtJ"),
        {"type": "content_block_stop", "index": 0},
    ]
    assert play("messages", *events) == events
    chat = {"choices": [{"index": 0, "message": {"thinking_blocks": [block], "reasoning_content": EMAIL}}]}
    (answer,) = play("chat", chat, stream=False)
    assert answer["choices"][0]["message"] == {"thinking_blocks": [block], "reasoning_content": "ada@example.com"}
    chunk = {"choices": [{"index": 0, "delta": {"thinking_blocks": [block]}, "finish_reason": None}]}
    assert play("chat", chunk) == [chunk]


def test_a_tools_own_field_called_thinking_or_arguments_is_an_ordinary_text() -> None:
    block = {"type": "tool_use", "input": {"thinking": EMAIL, "arguments": QUOTED, "function": {"arguments": QUOTED}}}
    (answer,) = play("messages", {"type": "message", "content": [block]}, stream=False)
    key = 'line "one"\nline \\ two'
    assert answer["content"][0]["input"] == {
        "thinking": "ada@example.com", "arguments": key, "function": {"arguments": key}
    }  # fmt: skip


def test_blocks_do_not_share_a_window_and_each_is_flushed_before_it_closes() -> None:
    out = play(
        "messages",
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": f"a {HALF}"}},
        delta(0, type="text_delta", text=REST + HALF),
        {"type": "content_block_stop", "index": 0},
        delta(1, type="input_json_delta", partial_json=json.dumps({"a": QUOTED})[:20]),
        delta(1, type="input_json_delta", partial_json=json.dumps({"a": QUOTED})[20:]),
        {"type": "content_block_stop", "index": 1},
        {"type": "message_stop"},
    )
    assert out[0]["content_block"]["text"] == "a "
    assert [one["delta"]["text"] for one in out[1:3]] == ["ada@example.com", HALF]
    assert out[3] == {"type": "content_block_stop", "index": 0}
    arguments = "".join(one["delta"]["partial_json"] for one in out if one.get("index") == 1 and "delta" in one)
    assert json.loads(arguments) == {"a": 'line "one"\nline \\ two'}


@pytest.mark.parametrize("last", ["message_delta", "message_stop", "error"])
def test_what_is_held_leaves_before_the_end_of_a_message_that_closed_no_block(last: str) -> None:
    out = play("messages", delta(0, type="text_delta", text=HALF), {"type": last, "error": {"message": EMAIL}})
    assert [one["delta"]["text"] for one in out[:2]] == ["", HALF]
    assert out[2] == {"type": last, "error": {"message": "ada@example.com"}}


def test_results_of_the_providers_own_tools_and_citations_come_whole() -> None:
    result = {"type": "web_search_tool_result", "content": [{"title": EMAIL, "encrypted_content": "QUtJ"}]}
    out = play(
        "messages",
        {"type": "content_block_start", "index": 0, "content_block": result},
        delta(0, type="citations_delta", citation={"cited_text": EMAIL}),
        delta(0, type="brand_new_delta", brand_new=EMAIL),
    )
    assert EMAIL not in json.dumps(out)
    assert json.dumps(out).count("ada@example.com") == 3


# -- responses


def typed(kind: str, number: int, **fields: Any) -> Tree:
    return {"type": f"response.{kind}", "sequence_number": number, **fields}


def test_numbers_stay_a_sequence_when_what_was_held_becomes_an_event() -> None:
    at = {"item_id": "i", "output_index": 0, "content_index": 0}
    out = play(
        "responses",
        typed("created", 0, response={"instructions": EMAIL}),
        typed("output_text.delta", 1, **at, delta=HALF, logprobs=[{"token": HALF}], obfuscation="xyz"),
        typed("output_text.done", 2, **at, text=HALF, logprobs=[]),
        typed("output_text.delta", 3, **{**at, "content_index": 1}, delta=EMAIL, logprobs=[{"token": EMAIL}]),
        typed("output_item.done", 4, output_index=0, item={"type": "message", "content": [{"text": EMAIL}]}),
        typed("completed", 5, response={"output": [{"type": "function_call", "arguments": json.dumps({"a": QUOTED})}]}),
    )
    assert [one["sequence_number"] for one in out] == list(range(7))
    assert [one["type"].removeprefix("response.") for one in out] == [
        "created", "output_text.delta", "output_text.delta", "output_text.done", "output_text.delta", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert (out[1]["delta"], out[1]["logprobs"]) == ("", [])
    assert (out[2]["delta"], out[2]["logprobs"], out[2]["item_id"]) == (HALF, [], "i")
    assert (out[4]["delta"], out[4]["logprobs"]) == ("ada@example.com", [])
    assert json.loads(out[6]["response"]["output"][0]["arguments"]) == {"a": 'line "one"\nline \\ two'}


@pytest.mark.parametrize(
    ("name", "done", "meant"),
    [
        ("output_text", "text", 'line "one"\nline \\ two'),
        ("refusal", "refusal", 'line "one"\nline \\ two'),
        ("reasoning_text", "text", 'line "one"\nline \\ two'),
        ("reasoning_summary_text", "text", 'line "one"\nline \\ two'),
        ("custom_tool_call_input", "input", 'line "one"\nline \\ two'),
        ("code_interpreter_call_code", "code", 'line "one"\nline \\ two'),
        ("function_call_arguments", "arguments", 'line \\"one\\"\\nline \\\\ two'),
        ("mcp_call_arguments", "arguments", 'line \\"one\\"\\nline \\\\ two'),
        ("brand_new", "text", 'line "one"\nline \\ two'),
    ],
)
def test_every_text_of_a_response_is_the_same_in_pieces_and_when_done(name: str, done: str, meant: str) -> None:
    at = {"item_id": "i", "output_index": 0}
    pieces = [typed(f"{name}.delta", number, **at, delta=character) for number, character in enumerate(QUOTED)]
    out = play("responses", *pieces, typed(f"{name}.done", len(pieces), **at, **{done: QUOTED}))
    assert "".join(one["delta"] for one in out[:-1]) == out[-1][done] == meant


@pytest.mark.parametrize("last", ["completed", "incomplete", "failed"])
def test_what_is_held_leaves_before_the_event_that_ends_the_response(last: str) -> None:
    at = {"item_id": "i", "output_index": 0, "content_index": 0}
    out = play("responses", typed("output_text.delta", 0, **at, delta=HALF), typed(last, 1, response={"output": []}))
    assert [(one["type"], one["sequence_number"]) for one in out] == [
        ("response.output_text.delta", 0), ("response.output_text.delta", 1), (f"response.{last}", 2)
    ]  # fmt: skip


def test_a_response_that_breaks_off_ends_with_what_was_held() -> None:
    out = play("responses", typed("output_text.delta", 7, item_id="i", output_index=0, delta=HALF))
    assert [(one["delta"], one["sequence_number"]) for one in out] == [("", 7), (HALF, 8)]


def test_events_without_numbers_get_none() -> None:
    out = play(
        "transcriptions",
        {"type": "transcript.text.delta", "delta": HALF},
        {"type": "transcript.text.done", "text": HALF},
    )
    assert out == [
        {"type": "transcript.text.delta", "delta": ""},
        {"type": "transcript.text.delta", "delta": HALF},
        {"type": "transcript.text.done", "text": HALF},
    ]


def test_logprobs_of_a_response_are_dropped_where_their_text_changed() -> None:
    parts = [{"text": EMAIL, "logprobs": [{"token": "x"}]}, {"text": "plain", "logprobs": [{"token": "x"}]}]
    (answer,) = play("responses", {"output": [{"type": "message", "content": parts}]}, stream=False)
    assert [part["logprobs"] for part in answer["output"][0]["content"]] == [[], [{"token": "x"}]]
    for event in (
        {"type": "response.output_text.done", "text": EMAIL, "logprobs": [{"token": "x"}]},
        {"type": "response.content_part.done", "part": {"text": EMAIL, "logprobs": [{"token": "x"}]}},
    ):
        (out,) = play("responses", event)
        assert out.get("part", out)["logprobs"] == []


# -- gemini


def chunk(*parts: Tree, finish: str = "", index: int = 0, **fields: Any) -> Tree:
    candidate: Tree = {"content": {"role": "model", "parts": list(parts)}, "index": index, **fields}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})], "modelVersion": "g"}


def parts(events: list[Tree]) -> list[Tree]:
    return [part for event in events for one in event["candidates"] for part in one["content"]["parts"]]


def test_what_is_held_of_a_text_leaves_before_a_part_of_another_kind() -> None:
    call = {"functionCall": {"name": "f", "args": {"to": EMAIL}}, "thoughtSignature": "QUtJ"}
    out = parts(
        play(
            "gemini",
            chunk({"text": HALF, "thought": True}),
            chunk({"text": REST, "thought": True}, {"text": f"a {HALF}"}),
            chunk(call),
            chunk({"text": HALF}, finish="STOP"),
        )
    )
    assert out == [
        {"text": "", "thought": True},
        {"text": "ada@example.com", "thought": True},
        {"text": "a "},
        {"text": HALF},
        {"functionCall": {"name": "f", "args": {"to": "ada@example.com"}}, "thoughtSignature": "QUtJ"},
        {"text": ""},
        {"text": HALF},
    ]


def test_a_finish_without_content_still_brings_what_was_held() -> None:
    bare = {"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": {"totalTokenCount": 2}}
    out = play("gemini", chunk({"text": f"a {HALF}"}), bare)
    assert out[1]["candidates"][0] == {
        "finishReason": "STOP", "index": 0, "content": {"parts": [{"text": HALF}], "role": "model"}
    }  # fmt: skip
    assert out[1]["usageMetadata"] == {"totalTokenCount": 2}


def test_candidates_do_not_share_a_window_and_a_broken_stream_gives_what_each_held() -> None:
    out = play("gemini", chunk({"text": HALF}), chunk({"text": "b ["}, index=1), chunk({"text": REST}))
    assert parts(out) == [{"text": ""}, {"text": "b "}, {"text": "ada@example.com"}, {"text": "["}]
    assert [one["candidates"][0]["index"] for one in out] == [0, 1, 0, 1]
    assert all(one["modelVersion"] == "g" for one in out)


def test_logprobs_of_a_candidate_are_dropped_where_its_text_changed() -> None:
    measured = {"logprobsResult": {"chosenCandidates": [{"token": "x"}]}, "avgLogprobs": -0.5}
    for stream in (True, False):
        (changed,) = play("gemini", chunk({"text": EMAIL}, **measured), stream=stream)
        assert not measured.keys() & changed["candidates"][0].keys()
        (same,) = play("gemini", chunk({"text": "plain"}, **measured), stream=stream)
        assert measured.keys() <= same["candidates"][0].keys()


def test_metadata_of_a_candidate_are_unmasked_too() -> None:
    (out,) = play("gemini", chunk({"text": "x"}, citationMetadata={"citations": [{"title": EMAIL}]}))
    assert out["candidates"][0]["citationMetadata"] == {"citations": [{"title": "ada@example.com"}]}


# -- completions


def test_choices_of_a_completion_do_not_share_a_window_and_end_with_their_finish() -> None:
    def said(text: str, index: int, finish: str | None = None) -> Tree:
        logprobs = {"tokens": [text]}
        return {"id": "c", "choices": [{"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}]}

    out = play("completions", said(HALF, 0), said("b [", 1), said(REST, 0, "stop"), said("", 1), said("", 0))
    texts = [(one["choices"][0]["index"], one["choices"][0]["text"]) for one in out]
    assert texts == [(0, ""), (1, "b "), (0, "ada@example.com"), (1, ""), (0, ""), (1, "[")]
    assert [one["choices"][0]["logprobs"] is None for one in out] == [True, True, True, False, False, True]
