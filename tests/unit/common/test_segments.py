"""Segments: every text is seen with its place, bad bodies are refused by name, and a replacement changes nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.segments import Rewrite, Segment
from llmproxy.common.segments.names import BLOB_KEYS


def scan(body: bytes) -> list[Segment]:
    tree = segments.decode(body)
    segments.texts(tree, body)
    return segments.segments(body.decode(), tree)


def refusal(body: bytes, max_depth: int = 64) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        segments.texts(segments.decode(body, max_depth), body, max_depth)
    return caught.value


CHAT = json.dumps(
    {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "look at this"}], "name": "somebody"},
            {
                "role": "assistant",
                "refusal": "I will not",
                "tool_calls": [{"id": "call_1", "function": {"name": "send", "arguments": '{"to":"the \\u0040dmin"}'}}],
            },
            {"role": "tool", "content": "the result", "tool_call_id": "call_1"},
        ],
        "tools": [{"function": {"description": "sends a letter", "parameters": {"enum": ["one way", "other way"]}}}],
        "prediction": {"content": "what I expect"},
        "response_format": {"json_schema": {"description": "a schema text"}},
        "stop": ["stop here"],
        "user": "user-1",
        "metadata": {"team": "blue team"},
        "not_in_any_manual": {"deep": [["inside"]]},
    }
).encode()


@pytest.mark.parametrize(
    ("role", "path", "text"),
    [
        ("system", "messages[0].content", "be brief"),
        ("developer", "messages[1].content", "be kind"),
        ("user", "messages[2].content[0].text", "look at this"),
        ("user", "messages[2].name", "somebody"),
        ("assistant", "messages[3].refusal", "I will not"),
        ("assistant", "messages[3].tool_calls[0].function.arguments", "the @dmin"),
        ("tool", "messages[4].content", "the result"),
        ("definition", "tools[0].function.description", "sends a letter"),
        ("definition", "tools[0].function.parameters.enum[1]", "other way"),
        ("definition", "response_format.json_schema.description", "a schema text"),
        ("parameter", "prediction.content", "what I expect"),
        ("parameter", "stop[0]", "stop here"),
        ("parameter", "user", "user-1"),
        ("parameter", "metadata.team", "blue team"),
        ("parameter", "not_in_any_manual.deep[0][0]", "inside"),
    ],
)
def test_every_text_of_a_chat_body_is_a_segment_with_its_role_and_path(role: str, path: str, text: str) -> None:
    assert (role, path, text) in [(one.role, one.path, one.text) for one in scan(CHAT)]


def test_a_key_that_is_not_of_the_api_is_a_segment_and_its_path_does_not_quote_it() -> None:
    found = scan(b'{"metadata":{"ada@example.com":"some value"}}')
    assert [(one.path, one.text, one.form) for one in found if one.form == "key"] == [
        ("metadata.*", "ada@example.com", "key")
    ]
    assert [one.path for one in found if one.text == "some value"] == ["metadata.*"]


def test_a_long_number_is_a_segment_but_a_seed_is_not() -> None:
    found = scan(
        b'{"generationConfig":{"seed":4111111111111111},"seed":4111111111111111,"card":4111111111111111,"exp":4.111111111111111e15,"n":12}'
    )
    assert [(one.path, one.text) for one in found if one.form == "number"] == [
        ("card", "4111111111111111"),
        ("exp", "4111111111111111"),
    ]


BLOB = "AAEC" * 64  # Bytes of no text.
READABLE = "QUtJ" * 64
LINES = "4111-1111-1111-1111\n" * 20


def user(part: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": [part]}]}


def assistant(part: object) -> dict[str, object]:
    return {"messages": [{"role": "assistant", "content": [part]}]}


def source(**fields: str) -> dict[str, object]:
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BLOB, **fields}}


@pytest.mark.parametrize(
    "body",
    [
        user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BLOB}"}}),
        user({"type": "input_audio", "input_audio": {"data": BLOB, "format": "wav"}}),
        user({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{BLOB}"}}),
        user({"type": "file", "file": {"file_data": BLOB, "filename": "a.pdf"}}),
        user(source()),
        user(source(data="_-8_" * 100)),
        user({"type": "tool_result", "tool_use_id": "t", "content": [source()]}),
        user({"type": "document", "source": {"type": "content", "content": [source()]}}),
        assistant({"type": "thinking", "thinking": "so", "signature": BLOB}),
        assistant({"type": "redacted_thinking", "data": BLOB}),
        assistant({"type": "web_search_tool_result", "content": [{"type": "web_search_result", "encrypted_content": BLOB}]}),
        assistant({"type": "text", "text": "so", "citations": [{"encrypted_index": BLOB}]}),
        {"messages": [{"role": "assistant", "thinking_blocks": [{"type": "thinking", "signature": BLOB}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"extra_content": {"google": {"thought_signature": BLOB}}}]}]},
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": BLOB}]},
        {"input": [{"type": "image_generation_call", "result": BLOB}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{BLOB}"}]}]},
        {"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_data": BLOB}]}]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": BLOB}}]}]},
        {"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": BLOB}}]}]},
        {"contents": [{"parts": [{"functionCall": {"name": "f"}, "thoughtSignature": BLOB}]}]},
        {"contents": [{"parts": [{"functionResponse": {"parts": [{"inlineData": {"mimeType": "image/png", "data": BLOB}}]}}]}]},
        {"file": {"filename": "a.mp3", "content_type": "audio/mpeg", "data": BLOB}},
        {"image": [{"filename": "a.png", "content_type": "image/png", "data": BLOB}]},
    ],
)  # fmt: skip
def test_base64_where_an_api_has_binaries_and_seals_is_not_text(body: dict[str, object]) -> None:
    written = json.dumps(body).encode()
    assert not [one for one in scan(written) if len(one.text) >= 256]
    assert not [one for one in segments.texts(body, written) if len(one) >= 256]
    escaped = written.replace(b"QUtJQUtJ", b"QUtJ\\u0051UtJ")
    assert not [one for one in scan(escaped) if len(one.text) >= 256]


@pytest.mark.parametrize(
    "body",
    [
        user({"type": "text", "text": f"data:image/png;base64,{BLOB}"}),
        user({"type": "text", "text": BLOB}),
        user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{READABLE}"}}),
        assistant({"type": "tool_use", "id": "t", "name": "f", "input": {"url": f"data:image/png;base64,{BLOB}"}}),
        {"metadata": {"image_url": f"data:image/png;base64,{BLOB}"}},
        {"tools": [{"input_schema": {"properties": {"a": {"default": {"url": f"data:image/png;base64,{BLOB}"}}}}}]},
        user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BLOB} my mail is a@b.com"}}),
        user({"type": "image_url", "image_url": {"url": f"data:text/plain;base64,{BLOB}"}}),
        user({"type": "image_url", "image_url": {"url": f"https://{BLOB}.example.com/"}}),
        user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BLOB[:200]}"}}),
        user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{LINES}"}}),
        user({"data": BLOB, "format": "wav"}),
        user(source(type="text", media_type="text/plain")),
        user(source(media_type="text/plain")),
        user(source(type="url")),
        user(source(data=BLOB[:200])),
        user(source(data=LINES)),
        user(source(data=BLOB + ".")),
        user(source(data=BLOB + "+-")),
        user(source(data=BLOB + "=" + BLOB)),
        user(source(other=BLOB)),
        user({"type": "text", "data": BLOB, "media_type": "image/png"}),
        assistant({"type": "tool_use", "input": source()}),
        assistant({"type": "tool_use", "input": {"signature": BLOB}}),
        assistant({"type": "thinking", "thinking": BLOB, "signature": "x"}),
        assistant({"type": "thinking", "signature": f"{BLOB} {BLOB}"}),
        {"messages": [{"role": "user", "content": "x", "metadata": {"source": source()}}]},
        {"metadata": {"encrypted_content": BLOB}},
        {"signature": {"data": BLOB}},
        {"tools": [source()]},
        {"input": BLOB},
        {"input": [{"type": "function_call_output", "output": BLOB}]},
        {"input": [{"type": "image_generation_call", "prompt": BLOB}]},
        {"input": [{"type": "message", "result": BLOB}]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "text/plain", "data": BLOB}}]}]},
        {"contents": [{"parts": [{"inlineData": {"data": BLOB}}]}]},
        {"contents": [{"parts": [{"functionCall": {"args": {"inlineData": {"mimeType": "image/png", "data": BLOB}}}}]}]},
        {"contents": [{"parts": [{"functionResponse": {"response": {"thoughtSignature": BLOB}}}]}]},
        {"file": {"filename": "a.txt", "content_type": "text/plain", "data": BLOB}},
        {"file": {"filename": BLOB, "content_type": "audio/mpeg"}},
        {"prompt": {"content_type": "audio/mpeg", "data": BLOB}},
    ],
)  # fmt: skip
def test_what_only_looks_like_base64_of_a_binary_is_text(body: dict[str, object]) -> None:
    written = json.dumps(body).encode()
    assert [one for one in scan(written) if len(one.text) >= 200]
    assert [one for one in segments.texts(body, written) if len(one) >= 200]


def test_the_quick_look_and_the_exact_one_leave_out_the_same_blobs() -> None:
    for name in BLOB_KEYS:
        for around in (user, lambda part: {"input": [part]}, lambda part: {"contents": [{"parts": [part]}]}):
            written = json.dumps(around({"type": "redacted_thinking", name: BLOB})).encode()
            quick = BLOB in segments.texts(segments.decode(written), written)
            assert quick == (BLOB in [one.text for one in scan(written)]), name


@pytest.mark.parametrize(
    ("body", "role"),
    [
        ({"system": "secret word"}, "system"),
        ({"system": [{"type": "text", "text": "secret word"}]}, "system"),
        (user({"type": "text", "text": "secret word"}), "user"),
        (user({"type": "tool_result", "content": "secret word"}), "tool"),
        (user({"type": "tool_result", "content": [{"type": "text", "text": "secret word"}]}), "tool"),
        (user({"type": "search_result", "content": [{"type": "text", "text": "secret word"}]}), "tool"),
        (user({"type": "mcp_tool_result", "content": [{"type": "text", "text": "secret word"}]}), "tool"),
        (user({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "secret word"}}), "user"),
        (assistant({"type": "tool_use", "input": {"a": "secret word"}}), "assistant"),
        (assistant({"type": "thinking", "thinking": "secret word"}), "assistant"),
        ({"output_config": {"format": {"schema": {"title": "secret word"}}}}, "definition"),
        ({"instructions": "secret word"}, "system"),
        ({"input": "secret word"}, "user"),
        ({"input": ["secret word"]}, "user"),
        ({"input": [{"role": "developer", "content": "secret word"}]}, "developer"),
        ({"input": [{"type": "message", "role": "assistant", "content": [{"text": "secret word"}]}]}, "assistant"),
        ({"input": [{"type": "function_call", "arguments": '{"a":"secret word"}'}]}, "assistant"),
        ({"input": [{"type": "custom_tool_call", "input": "secret word"}]}, "assistant"),
        ({"input": [{"type": "function_call_output", "output": "secret word"}]}, "tool"),
        ({"input": [{"type": "function_call_output", "output": [{"text": "secret word"}]}]}, "tool"),
        ({"input": [{"type": "mcp_call", "arguments": "{}", "output": "secret word"}]}, "tool"),
        ({"input": [{"type": "file_search_call", "results": [{"text": "secret word"}]}]}, "tool"),
        ({"input": [{"type": "reasoning", "summary": [{"text": "secret word"}]}]}, "assistant"),
        ({"input": [{"type": "text", "text": "secret word"}]}, "user"),
        ({"text": {"format": {"schema": {"title": "secret word"}}}}, "definition"),
        ({"systemInstruction": {"parts": [{"text": "secret word"}]}}, "system"),
        ({"system_instruction": {"parts": [{"text": "secret word"}]}}, "system"),
        ({"contents": "secret word"}, "parameter"),
        ({"contents": [{"parts": [{"text": "secret word"}]}]}, "user"),
        ({"contents": [{"role": "user", "parts": [{"text": "secret word"}]}]}, "user"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {"args": {"a": "secret word"}}}]}]}, "assistant"),
        ({"contents": [{"role": "user", "parts": [{"functionResponse": {"response": {"a": "secret word"}}}]}]}, "tool"),
        ({"contents": [{"role": "user", "parts": [{"function_response": {"response": {"a": "secret word"}}}]}]}, "tool"),
        ({"contents": [{"role": ["x"], "parts": [{"text": "secret word"}]}]}, "unknown"),
        ({"tools": [{"functionDeclarations": [{"description": "secret word"}]}]}, "definition"),
        ({"generationConfig": {"responseSchema": {"title": "secret word"}}}, "definition"),
        ({"prompt": "secret word"}, "user"),
        ({"prompt": ["x", "secret word"]}, "user"),
        ({"query": "secret word"}, "user"),
        ({"documents": ["secret word"]}, "tool"),
        ({"documents": [{"text": "secret word"}]}, "tool"),
        ({"messages": "secret word"}, "unknown"),
        ({"messages": ["secret word"]}, "unknown"),
        ({"messages": [{"role": "user", "content": ["secret word"]}]}, "user"),
        ({"messages": [{"role": 7, "content": "secret word"}]}, "unknown"),
        ({"brand_new": ["secret word"]}, "parameter"),
    ],
)  # fmt: skip
def test_every_api_says_whose_text_it_is(body: dict[str, object], role: str) -> None:
    written = json.dumps(body).encode()
    assert [one.role for one in scan(written) if one.text == "secret word"] == [role]
    assert "secret word" in "\n".join(segments.texts(body, written))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": ["text", 1]}, "prompt"),
        ({"input": ["text", [1, 2]]}, "input"),
        ({"input": [7]}, "input"),
        ({"prompt": "text"}, ""),
        ({"prompt": ["text", "more"]}, ""),
        ({"input": [{"role": "user", "content": "x"}]}, ""),
        ({"input": []}, ""),
        ({"messages": []}, ""),
    ],
)
def test_text_that_comes_as_numbers_is_noticed(body: dict[str, object], field: str) -> None:
    assert segments.token_ids(body) == field


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b'{"messages":[{"content":"a","content":"b"}]}', "duplicate_key", "messages[0].content"),
        (b'{"messages":[{"content":"a","c\\u006fntent":"b"}]}', "duplicate_key", "messages[0].content"),
        (b'{"a":1,"a" :2}', "duplicate_key", "a"),
        (b'{"a":1,"a"\n\t:2}', "duplicate_key", "a"),
        (b'{"x\\\\":1,"a":1,"a":2}', "duplicate_key", "a"),
        (b'{"t":":","x\\\\":1,"a":1,"a":2}', "duplicate_key", "a"),
        (b'{"t":"\\":","a":1,"a":2}', "duplicate_key", "a"),
        (b'{"messages":[{"content":"\xff\xfe"}]}', "invalid_encoding", "messages[0].content"),
        (b'{"messages":[{"content":"\xed\xa0\x80"}]}', "invalid_encoding", "messages[0].content"),
        (b'{"messages":[{"content":"\\ud83d"}]}', "invalid_encoding", "messages[0].content"),
        (b'{"messages":[{"content":"\\ude00\\ud83d"}]}', "invalid_encoding", "messages[0].content"),
        (b'{"a":[[[[1]]]]}', "too_deep", "a[0][0]"),
        (b'{"a":' + b"[" * 100_000, "too_deep", "a[0][0]"),
        (b'{"a":1,}', "invalid_json", ""),
        (b'{"a":NaN}', "invalid_json", ""),
        (b'{"a":"line\nbreak"}', "invalid_json", ""),
        (b'{"a":1}{"a":2}', "invalid_json", ""),
        (b'\xef\xbb\xbf{"a":1}', "invalid_json", ""),
        (b'{"a":' + b"9" * 5_000 + b"}", "invalid_json", ""),
        (b"}}}", "invalid_json", ""),
        (b"", "invalid_json", ""),
        (b"[1]", "invalid_type", ""),
    ],
)
def test_a_bad_body_is_refused_by_the_name_of_its_field(body: bytes, code: str, param: str) -> None:
    error = refusal(body, max_depth=3)
    assert (error.code, error.param) == (code, param)
    assert param in error.message


def test_keys_that_differ_in_case_are_two_keys_and_both_are_read() -> None:
    texts = [one.text for one in scan(b'{"messages":[{"content":"first text","Content":"other text"}]}')]
    assert texts.count("first text") == 1
    assert texts.count("other text") == 1


def test_depth_up_to_the_limit_is_accepted() -> None:
    body = b'{"a":' * 63 + b"[]" + b"}" * 63
    assert segments.texts(segments.decode(body), body) == ["a"] * 63


def test_arguments_with_a_key_twice_are_read_as_plain_text() -> None:
    body = json.dumps({"arguments": '{"to":"first one","to":"second one"}'}).encode()
    assert [one.text for one in scan(body)] == ['{"to":"first one","to":"second one"}']


JSON_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_TREES, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_a_body_without_double_keys_is_accepted_however_it_is_written(
    tree: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(tree, ensure_ascii=ascii_only, indent=indent).encode()
    scan(body)


@given(st.dictionaries(st.text(), JSON_TREES, min_size=1, max_size=5), st.booleans(), st.data())
def test_a_key_given_twice_is_always_found(tree: dict[str, object], ascii_only: bool, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(tree)))
    written = json.dumps(tree, ensure_ascii=ascii_only)
    body = f"{written[:-1]}, {json.dumps(key)}:1}}".encode()
    assert refusal(body).code == "duplicate_key"


PLANTED = "\u2603PLANTED\u2603"


def plant(tree: object, count: list[int]) -> object:
    """The tree with the marker put into every string value that is not empty."""
    if isinstance(tree, str):
        count[0] += bool(tree)
        return tree[: len(tree) // 2] + PLANTED + tree[len(tree) // 2 :] if tree else tree
    if isinstance(tree, list):
        return [plant(item, count) for item in tree]
    if isinstance(tree, dict):
        return {key: plant(value, count) for key, value in tree.items()}
    return tree


@given(st.dictionaries(st.text(), JSON_TREES, max_size=5), st.booleans(), st.sampled_from([None, 2]))
def test_everything_but_what_is_replaced_is_the_same_to_the_byte(
    tree: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    count = [0]
    planted = plant(tree, count)
    body = json.dumps(planted, ensure_ascii=ascii_only, indent=indent)
    rewrite = Rewrite()
    for segment in scan(body.encode()):
        at = segment.text.find(PLANTED)
        while at >= 0:
            rewrite.replace(segment, at, at + len(PLANTED), "[X]")
            at = segment.text.find(PLANTED, at + 1)
    written = json.dumps(PLANTED, ensure_ascii=ascii_only)[1:-1]
    assert rewrite.apply(body) == body.replace(written, "[X]")
    assert body.count(written) == count[0]


ARGUMENTS = st.dictionaries(st.text(), st.text(), min_size=1, max_size=4)


@given(ARGUMENTS, st.booleans(), st.booleans())
def test_a_replacement_inside_tool_call_arguments_leaves_them_valid(
    arguments: dict[str, str], inner_ascii: bool, outer_ascii: bool
) -> None:
    planted = {key: value + PLANTED for key, value in arguments.items()}
    body = json.dumps({"arguments": json.dumps(planted, ensure_ascii=inner_ascii)}, ensure_ascii=outer_ascii)
    rewrite = Rewrite()
    for segment in scan(body.encode()):
        at = segment.text.find(PLANTED)
        if at >= 0:
            rewrite.replace(segment, at, at + len(PLANTED), '"\\')
    masked = json.loads(json.loads(rewrite.apply(body))["arguments"])
    assert masked == {key: value + '"\\' for key, value in arguments.items()}


def test_a_number_becomes_a_string_when_it_is_replaced_also_inside_arguments() -> None:
    body = '{"n": 4111111111111111, "arguments": "{\\"n\\": 4111111111111111}"}'
    rewrite = Rewrite()
    for segment in scan(body.encode()):
        if segment.form == "number":
            rewrite.replace(segment, 0, 16, "[X]")
    assert rewrite.apply(body) == '{"n": "[X]", "arguments": "{\\"n\\": \\"[X]\\"}"}'
