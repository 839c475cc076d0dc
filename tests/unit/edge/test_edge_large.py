"""Large bodies at the edge: what it reads of them, and that it does not make the rest."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.edge.edge_gateway import CHAT, KEY, answers, gateway

from llmproxy.common.bus import Answer
from llmproxy.common.envelope import INLINE_BYTES_MAX, Api, Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.edge.body import BODIES, parse, parse_large
from llmproxy.edge.outline import VALUE_BYTES_MAX

APIS: tuple[Api, ...] = tuple(BODIES)
LONG = "x" * (VALUE_BYTES_MAX + 1)
NAMES = [
    "model",
    "messages",
    "input",
    "prompt",
    "query",
    "documents",
    "contents",
    "stream",
    "max_tokens",
    "n",
    "stream_options",
]
NAMES += ["include_usage", "generationConfig", "maxOutputTokens", "mod", "models", 'a"b', "\\", "é", ""]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 300)
    | st.sampled_from(["", "demo", LONG, '}],"', "\\\\"])
    | st.floats(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)


def said(read: Callable[..., Any], api: Api, body: bytes) -> Any:
    try:
        return read(api, body, "demo", False)
    except GatewayError as error:
        return error.code, error.param, error.message


def written(tree: Any, indent: int | None, gap: str) -> bytes:
    """With white space, and with every key as escapes."""
    text = json.dumps(tree, indent=indent, separators=(gap + ",", ":" + gap))
    return gap.encode() + text.replace('"model"', '"\\u006dod\\u0065l"' if gap else '"model"').encode() + gap.encode()


@given(OBJECTS, st.sampled_from(APIS), st.sampled_from([None, 1]), st.sampled_from(["", " ", "\r\n\t"]))
def test_a_large_body_says_what_a_small_one_says(tree: dict[str, Any], api: Api, indent: int | None, gap: str) -> None:
    body = written(tree, indent, gap)
    assert said(parse_large, api, body) == said(parse, api, body)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "field", ["messages", "contents", "prompt", "input", "query", "documents", "model", "stream", "max_tokens"]
)
def test_what_a_field_may_be_does_not_depend_on_its_size(api: Api, field: str) -> None:
    known = {
        "model": "demo",
        "messages": [1],
        "contents": [1],
        "input": "a",
        "prompt": "a",
        "query": "a",
        "documents": [1],
    }
    for value in (
        LONG,
        [LONG],
        [[]] * VALUE_BYTES_MAX,
        {"a": LONG},
        {"role": [LONG]},
        int("9" * 4_500 and "9" * 4_200),
    ):
        body = json.dumps({**known, "max_tokens": 5, field: value}).encode()
        large, small = said(parse_large, api, body), said(parse, api, body)
        assert large == small
    for empty in (b"[%b]" % (b" " * VALUE_BYTES_MAX), b'{"a":1}', b'""'):
        body = json.dumps({**known, "max_tokens": 5, field: "@"}).encode().replace(b'"@"', empty)
        assert said(parse_large, api, body) == said(parse, api, body)


def test_of_two_members_with_one_name_the_last_counts() -> None:
    body = b'{"model":"a","messages":[1],"mod\\u0065l":"b"}'
    assert parse_large("chat", body).model == parse("chat", body).model == "b"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b" ",
        b"[1]",
        b"{",
        b'{"model"',
        b'{"model":',
        b'{"model":"a',
        b'{"a":1}}',
        b'{"a":[1}',
        b'{"a" 1}',
        b"{1:2}",
    ],
)
def test_what_has_no_end_is_refused(broken: bytes) -> None:
    with pytest.raises(GatewayError) as refused:
        parse_large("chat", broken)
    assert refused.value.code == "invalid_json"


@given(st.binary(max_size=60) | st.text(alphabet='{}[]:,"\\u006model 1', max_size=60).map(str.encode))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    large = said(parse_large, "chat", body)
    if not isinstance(said(parse, "chat", body), tuple):
        assert large == said(parse, "chat", body)


def cpu_s(body: bytes) -> float:
    began = time.thread_time()
    asyncio.run(read_in_a_thread(body))
    return time.thread_time() - began


async def read_in_a_thread(body: bytes) -> None:
    await asyncio.to_thread(parse_large, "chat", body)


def test_the_loop_does_not_work_for_what_is_in_a_large_body() -> None:
    """In CPU of the loop's thread: to decode 16 MB of numbers takes it 30 ms."""
    small, large = (b'{"model":"demo","messages":[%b1]}' % (b"1," * size) for size in (1 << 10, 8 << 20))
    cpu_s(small)
    decoding = min(decoded_s(large) for _ in range(3))
    assert min(cpu_s(large) for _ in range(3)) < decoding / 3


def decoded_s(body: bytes) -> float:
    began = time.thread_time()
    parse("chat", body)
    return time.thread_time() - began


def test_a_large_body_goes_by_claim_check_under_the_model_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Envelope] = []
    aside: list[str] = []
    in_a_thread = asyncio.to_thread

    async def noted(work: Callable[..., Any], *arguments: Any) -> Any:
        aside.append(work.__name__)
        return await in_a_thread(work, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noted)

    async def look(envelope: Envelope, answer: Answer) -> None:
        seen.append(envelope)
        answers(envelope, answer)

    async def run() -> None:
        body = {**CHAT, "messages": [{"role": "user", "content": "a b " * (INLINE_BYTES_MAX // 4)}], "model": "other"}
        async with gateway(look) as edge:
            edge.add_key(KEY)
            asked = [
                await edge.ask(json=body),
                await edge.ask(json={**body, "model": "nobody"}),
                await edge.ask(data=json.dumps(body)[:-1], headers={"content-type": "application/json"}),
            ]
            assert aside == ["join", "parse_large"] * 3, "nothing that takes long is done in the loop"
            status, _, _ = await edge.ask()
            assert (status, len(aside)) == (200, 6)
        assert [status for status, _, _ in asked] == [200, 404, 400]
        told = [msgspec.json.decode(said)["error"]["code"] for _, _, said in asked[1:]]
        assert told == ["model_not_found", "invalid_json"]
        assert [(one.model, bool(one.body_ref)) for one in seen] == [("other", True), ("demo", False)]

    asyncio.run(run())
