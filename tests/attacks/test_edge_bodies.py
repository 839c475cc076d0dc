"""Bodies that are wrong in one way each: every one is a 4xx in OpenAI's shape that names the field, and none travels."""

import asyncio
import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S
from unit.edge.edge_gateway import CHAT, CONFIG, KEY, answers, gateway, until

from llmproxy.common.bus import Answer
from llmproxy.common.config import Gateway
from llmproxy.common.envelope import Api, Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.edge.body import check_media_type, parse

M = b'"messages":[{"role":"user","content":"x"}]'
BODIES: dict[bytes, tuple[str, str | None]] = {
    b"": ("invalid_json", None),
    b" ": ("invalid_json", None),
    b"{": ("invalid_json", None),
    b"nonsense": ("invalid_json", None),
    b'{"model":"demo",' + M + b"} trailing": ("invalid_json", None),
    b'{"model":"demo",' + M + b',"x":NaN}': ("invalid_json", None),
    b'{"model":"demo",' + M + b',"x":Infinity}': ("invalid_json", None),
    b'{"model":"demo",' + M + b',"x":-Infinity}': ("invalid_json", None),
    b'{"model":"demo",' + M + b',"x":01}': ("invalid_json", None),
    b'{"model":"demo",' + M + b",'x':1}": ("invalid_json", None),
    b'{"model":"demo",' + M + b",}": ("invalid_json", None),
    b'{"model":"demo",' + M + b',"x":"\\ud800"': ("invalid_json", None),
    b'\xef\xbb\xbf{"model":"demo",' + M + b"}": ("invalid_json", None),
    '{"model":"demo"}'.encode("utf-16"): ("invalid_encoding", None),
    b'{"model":"demo",' + M + b',"x":"\xff"}': ("invalid_encoding", None),
    b'{"model":"demo",' + M + b',"x":"\xed\xa0\x80"}': ("invalid_encoding", None),
    b'{"model":"demo",' + M + b',"x":"\xc0\xaf"}': ("invalid_encoding", None),
    b'{"model":"demo",' + M + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}": ("too_deep", None),
    b"[]": ("invalid_type", None),
    b"null": ("invalid_type", None),
    b'"text"': ("invalid_type", None),
    b"{" + M + b"}": ("missing_required_parameter", "model"),
    b'{"Model":"demo",' + M + b"}": ("missing_required_parameter", "model"),
    b'{"model":"demo"}': ("missing_required_parameter", "messages"),
    b'{"model":"",' + M + b"}": ("invalid_value", "model"),
    b'{"model":null,' + M + b"}": ("invalid_type", "model"),
    b'{"model":1,' + M + b"}": ("invalid_type", "model"),
    b'{"model":["demo"],' + M + b"}": ("invalid_type", "model"),
    b'{"model":"' + b"m" * 257 + b'",' + M + b"}": ("invalid_value", "model"),
    b'{"model":"demo","messages":null}': ("invalid_type", "messages"),
    b'{"model":"demo","messages":{}}': ("invalid_type", "messages"),
    b'{"model":"demo","messages":"hello"}': ("invalid_type", "messages"),
    b'{"model":"demo","messages":[]}': ("invalid_value", "messages"),
    b'{"model":"demo",' + M + b',"stream":1}': ("invalid_type", "stream"),
    b'{"model":"demo",' + M + b',"stream":"true"}': ("invalid_type", "stream"),
    b'{"model":"demo",' + M + b',"stream_options":true}': ("invalid_type", "stream_options"),
    b'{"model":"demo",' + M + b',"stream_options":{"include_usage":"yes"}}': (
        "invalid_type",
        "stream_options.include_usage",
    ),
    b'{"model":"demo",' + M + b',"n":0}': ("invalid_value", "n"),
    b'{"model":"demo",' + M + b',"n":129}': ("invalid_value", "n"),
    b'{"model":"demo",' + M + b',"n":1.5}': ("invalid_type", "n"),
    b'{"model":"demo",' + M + b',"n":true}': ("invalid_type", "n"),
    b'{"model":"demo",' + M + b',"max_tokens":-1}': ("invalid_value", "max_tokens"),
    b'{"model":"demo",' + M + b',"max_tokens":"7"}': ("invalid_type", "max_tokens"),
    b'{"model":"demo",' + M + b',"max_completion_tokens":99999999999999999999}': (
        "invalid_value",
        "max_completion_tokens",
    ),
    b'{"model":"demo",' + M + b',"max_completion_tokens":[]}': ("invalid_type", "max_completion_tokens"),
}


def test_every_bad_body_is_a_400_that_names_the_field_and_goes_nowhere() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for body, (code, param) in BODIES.items():
                status, _, answer = await edge.ask(data=body, headers={"Content-Type": "application/json"})
                error = json.loads(answer)["error"]
                assert (body[:80], status, error["code"], error["param"]) == (body[:80], 400, code, param)
                assert error["type"] == "invalid_request_error"
                if param:
                    assert f"'{param}'" in error["message"]
            assert edge.seen == []
            assert [record.verdict for record in edge.records] == ["refused"] * len(BODIES)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("cut \\ud83d", "\\ud83d"),
        ("\\uDE00 cut", "\\uDE00"),
        ("\\ud83d\\ude00 and \\ud83d\\n", "\\ud83d\\n"),
        ("\\ud83d\\ud83d\\ude00", "\\ud83d\\ud83d\\ude00"),
        ("\\ud83d\\ude00\\udc00", "\\udc00"),
        ('\\ud83d\\ude00" whole', ""),
    ],
)
def test_a_text_that_was_cut_inside_of_a_character_is_named_so(text: str, half: str) -> None:
    body = f'{{"model":"demo","messages":[{{"role":"user","content":"{text}"}}]}}'
    error = refusal_of(body.encode())
    assert error is not None
    assert error.code == "invalid_json"
    at = body.index(half, body.index("content"))
    said = f": it holds half of a surrogate pair (byte {at}); cut texts between characters"
    assert (said in error.message) is bool(half)


def test_what_openai_accepts_is_accepted() -> None:
    for extra in (
        b'"stream":null',
        b'"n":null',
        b'"stream_options":null',
        b'"max_tokens":null',
        b'"Model":1',
        b'"x":{}',
    ):
        assert parse("chat", b'{"model":"demo",' + M + b"," + extra + b"}").model == "demo"


def refusal_of(body: bytes) -> GatewayError | None:
    try:
        parse("chat", body)
    except GatewayError as error:
        return error
    return None


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_but_our_error(body: bytes) -> None:
    refusal = refusal_of(body)
    assert refusal is None or 400 <= refusal.status < 500


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_any_json_in_any_known_field_is_taken_or_refused_by_name(value: object) -> None:
    for field in ("model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"):
        refusal = refusal_of(msgspec.json.encode({**CHAT, field: value}))
        assert refusal is None or refusal.param.split(".")[0] == field


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("", ""),
        ("text/plain", ""),
        ("application/x-www-form-urlencoded", ""),
        ("application/jsonx", ""),
        ("multipart/form-data; boundary=x", ""),
        ("application/json; charset=utf-16", ""),
        ("application/json; charset=latin-1", ""),
        ("application/json", "gzip"),
        ("application/json", "br"),
        ("application/json", "gzip, identity"),
    ],
)
def test_what_is_not_plain_json_in_utf_8_is_415(content_type: str, encoding: str) -> None:
    with pytest.raises(GatewayError) as refused:
        check_media_type(content_type, encoding)
    assert refused.value.status == 415


def test_a_compressed_body_is_refused_and_not_inflated() -> None:
    async def run() -> None:
        async with gateway() as edge:
            status, _, body = await edge.ask(
                data=b"\x1f\x8b not inflated",
                headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
            )
            assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_media_type")

    asyncio.run(run())


SMALL = msgspec.structs.replace(CONFIG, gateway=Gateway(max_body_bytes=1000))


def test_a_body_that_is_announced_as_too_large_is_413_before_it_is_read() -> None:
    async def run() -> None:
        async with gateway(config=SMALL) as edge:
            answer = await edge.raw(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nContent-Length: 100000000000\r\n\r\n{" % KEY.encode(),
                until_close=False,
            )
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"connection: close" in answer

    asyncio.run(run())


def test_many_large_bodies_at_once_are_refused_before_memory_runs_out() -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def script(envelope: Envelope, answer: Answer) -> None:
            await release.wait()
            answers(envelope, answer)

        async with gateway(script, bodies_bytes_max=1_000_000) as edge:
            large = {**CHAT, "pad": "x" * 600_000}
            first = asyncio.create_task(edge.ask(json=large))
            await until(lambda: len(edge.seen) == 1)
            status, headers, body = await edge.ask(json=large)
            assert (status, json.loads(body)["error"]["code"]) == (503, "server_is_overloaded")
            assert headers["x-should-retry"] == "true"
            release.set()
            assert (await first)[0] == (await edge.ask(json=large))[0] == 200
            assert edge.bodies.held == 0

    asyncio.run(run())


def test_a_client_that_offers_another_protocol_is_answered_in_this_one() -> None:
    """Java's HttpClient and `curl --http2` do so by default, with a body."""

    async def run() -> None:
        async with gateway() as edge:
            body = json.dumps(CHAT).encode()
            for offer in (b"h2c", b"websocket"):
                answer = await edge.raw(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
                    b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (offer, KEY.encode(), len(body), body),
                    until_close=False,
                )
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                assert bytes(edge.seen[-1].body) == body

    asyncio.run(run())


def test_a_body_that_grows_too_large_is_413_as_soon_as_it_is() -> None:
    async def run() -> None:
        async with gateway(config=SMALL) as edge:
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % KEY.encode()
            )
            writer.write(b"3e8\r\n" + b" " * 1000 + b"\r\n" + b"1\r\n \r\n")  # And it does not end.
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 413 ")
            writer.close()
            assert (await edge.ask(json={**CHAT, "pad": "x" * 1000}))[0] == 413
            assert (await edge.ask())[0] == 200
            assert [record.code for record in edge.records] == ["request_too_large", "request_too_large", ""]

    asyncio.run(run())


def test_a_body_whose_chunks_are_broken_is_a_4xx_and_the_end_of_its_connection() -> None:
    async def run() -> None:
        async with gateway() as edge:
            # aiohttp tells the next reader of the connection, not the one of the body: it ends as a body that stops.
            next(step for step in edge.edge._pipeline.steps if step.name == "body")._idle_s = 0.05
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" % KEY.encode()
            )
            while not edge.edge.in_flight:
                await asyncio.sleep(0.005)
            writer.write(b"nonsense\r\n")
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
            assert answer.count(b"HTTP/1.1") == 1
            assert b"nonsense" not in answer
            writer.close()
            assert [record.verdict for record in edge.records] == ["refused"]

    asyncio.run(run())


def test_a_body_that_does_not_come_is_408() -> None:
    async def run() -> None:
        async with gateway() as edge:
            next(step for step in edge.edge._pipeline.steps if step.name == "body")._idle_s = 0.05
            answer = await edge.raw(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nContent-Length: 10\r\n\r\n{" % KEY.encode(),
                until_close=False,
            )
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in answer

    asyncio.run(run())


def test_a_client_that_leaves_while_it_sends_has_its_record() -> None:
    async def run() -> None:
        async with gateway() as edge:
            _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nContent-Length: 10\r\n\r\n{" % KEY.encode()
            )
            async with asyncio.timeout(PATIENCE_S):
                while not edge.edge.in_flight:
                    await asyncio.sleep(0.005)
                writer.close()
                while not edge.records:
                    await asyncio.sleep(0.005)
            (record,) = edge.records
            assert (record.verdict, record.status, record.tenant) == ("cancelled", 499, "acme")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("api", "field", "of_text", "of_nothing"),
    [
        ("chat", "messages", "invalid_type", "invalid_type"),
        ("completions", "prompt", "", "invalid_type"),
        ("responses", "input", "", ""),
        ("messages", "messages", "invalid_type", "invalid_type"),
        ("count_tokens", "messages", "invalid_type", "invalid_type"),
        ("embeddings", "input", "invalid_value", "invalid_type"),
        ("moderations", "input", "", "invalid_type"),
        ("rerank", "documents", "invalid_type", "invalid_type"),
    ],
)
def test_an_array_has_something_in_it_and_is_one(api: Api, field: str, of_text: str, of_nothing: str) -> None:
    """`of_text`, of one that is empty."""

    def code(value: str) -> str:
        try:
            parse(api, f'{{"model":"m","max_tokens":1,"query":"q","{field}": {value} }}'.encode())
        except GatewayError as error:
            return error.code if error.param == field else "another field"
        return ""

    assert [code(value) for value in ("[1]", "[ [] ]", "[[],{}]")] == ["", "", ""]
    assert [code(value) for value in ("[]", "[ \r\n\t ]")] == ["invalid_value", "invalid_value"]
    assert [code(value) for value in ("{}", "1", "true")] == ["invalid_type"] * 3
    assert (code('""'), code("null")) == (of_text, of_nothing)


@pytest.mark.parametrize("element", [b"1,", b"{},", b'"",'])
def test_the_elements_of_a_body_are_not_made(element: bytes) -> None:
    """It took a third of a second and 300 MB for 8 MB, in the event loop."""
    body = b'{"model":"m","messages":[' + element * 500_000 + b"1]}"
    tracemalloc.start()
    try:
        parse("chat", body)
        assert tracemalloc.get_traced_memory()[1] < len(body)
    finally:
        tracemalloc.stop()
