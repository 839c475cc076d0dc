"""Segments: every text is seen with its place, bad bodies are refused by name, and a replacement changes nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.segments import Rewrite, Segment


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
    found = scan(b'{"seed":4111111111111111,"card":4111111111111111,"exp":4.111111111111111e15,"n":12}')
    assert [(one.path, one.text) for one in found if one.form == "number"] == [
        ("card", "4111111111111111"),
        ("exp", "4111111111111111"),
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUtJQUlPU0ZPRE5ON0VYQU1QTEU="}},
        {"type": "input_audio", "input_audio": {"data": "QUtJQUlPU0ZPRE5ON0VYQU1QTEU=", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUtJQUlPU0ZPRE5ON0VYQU1QTEU="}},
    ],
)
def test_base64_of_a_picture_a_sound_or_a_file_is_not_text(part: dict[str, object]) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
    assert not [one for one in scan(body) if "QUtJ" in one.text]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "data:image/png;base64,QUtJQUlPU0ZPRE5ON0VYQU1QTEU="},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUtJ my mail is a@b.com"}},
        {"type": "image_url", "image_url": {"url": "data:text/plain;base64,QUtJQUlPU0ZPRE5ON0VYQU1QTEU="}},
        {"type": "image_url", "image_url": {"url": "https://QUtJ.example.com/"}},
        {"data": "QUtJQUlPU0ZPRE5ON0VYQU1QTEU=", "format": "wav"},
    ],
)
def test_what_only_looks_like_base64_of_a_picture_is_text(part: dict[str, object]) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
    assert [one for one in scan(body) if "QUtJ" in one.text]


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
