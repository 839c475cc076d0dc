"""Forms: read strictly, carried as JSON, and refused by the name of the field."""

import asyncio
import base64
import json

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.edge.edge_examples import AUDIO, form
from unit.edge.edge_gateway import CONFIG, KEY, gateway

from llmproxy.common.config import Gateway
from llmproxy.common.errors import GatewayError
from llmproxy.edge import forms

B = "a-boundary"
ROUTE = "/v1/audio/transcriptions"


def part(name: str, value: bytes, more: str = "", headers: str = "") -> bytes:
    return f'--{B}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'.encode() + value + b"\r\n"


END = f"--{B}--\r\n".encode()
FILE = part("file", b"\x00\xff\r\n--a-bound", '; filename="a.wav"', "Content-Type: audio/wav\r\n")
MODEL = part("model", b"demo")


def to_json(body: bytes, boundary: str = B) -> dict[str, object]:
    async def run() -> bytes:
        read = await forms.parse(body, boundary.encode())
        made = await forms.to_json(read.texts, read.upload)
        assert len(made) >= forms.json_bytes(read.texts, read.upload)
        return made

    found = json.loads(asyncio.run(run()))
    assert isinstance(found, dict)
    return found


def test_a_form_is_an_object_of_its_texts_and_its_file() -> None:
    several = part("timestamp_granularities[]", b"word") + part("timestamp_granularities[]", b"segment")
    body = (
        MODEL + part("prompt", "gr\u00fc\u00df\r\n\r\ndich".encode()) + several + FILE + part("temperature", b"") + END
    )
    assert to_json(body) == {
        "model": "demo",
        "prompt": "gr\u00fc\u00df\r\n\r\ndich",
        "timestamp_granularities[]": ["word", "segment"],
        "temperature": "",
        "file": {
            "filename": "a.wav",
            "content_type": "audio/wav",
            "data": base64.b64encode(b"\x00\xff\r\n--a-bound").decode(),
        },
    }


def test_a_form_with_nothing_but_a_file_is_an_object_too() -> None:
    assert list(to_json(part("file", b"", '; filename="x"') + END)) == ["file"]


@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(["prompt", "language", "a[b]"]), st.text(max_size=50)))
def test_what_a_client_puts_into_a_form_comes_out_of_it(data: bytes, texts: dict[str, str]) -> None:
    async def sent() -> tuple[bytes, str]:
        payload = form(texts, data)()
        return await payload.as_bytes(), payload.content_type

    body, content_type = asyncio.run(sent())
    boundary = forms.boundary(content_type).decode()
    found = to_json(body, boundary)
    upload = found.pop("file")
    assert isinstance(upload, dict)
    assert base64.b64decode(upload["data"]) == data
    assert found == texts


def test_a_large_file_is_searched_and_encoded_in_slices_and_is_whole() -> None:
    filling = b"\r\n--a-boundar" * 9
    data = (b"x" * (forms.SLICE_BYTES - 50) + filling) * 3  # Something like the delimiter lies across the slices.
    found = to_json(part("file", data, '; filename="x"') + MODEL + END)
    assert isinstance(found["file"], dict)
    assert base64.b64decode(found["file"]["data"]) == data
    assert found["model"] == "demo"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_encoding", ""),
        (b"nonsense", "invalid_encoding", ""),
        (MODEL + part("prompt", b"x" * forms.FIELDS_BYTES_MAX) + FILE + END, "request_too_large", ""),
        (part("a", b"x" * (forms.FIELDS_BYTES_MAX // 2)) * 3 + FILE + END, "invalid_value", "a"),
        (b"preamble\r\n" + MODEL + FILE + END, "invalid_encoding", ""),
        (MODEL + FILE, "invalid_encoding", ""),
        (MODEL + FILE + END + b"epilogue", "invalid_encoding", ""),
        (MODEL + FILE + END[:-4] + b"x\r\n", "invalid_encoding", ""),
        (MODEL + FILE + f"--{B}longer\r\n".encode() + END, "invalid_encoding", ""),
        (f"--{B}\r\n\r\nx\r\n".encode() + FILE + END, "invalid_encoding", ""),
        (
            f'--{B}\r\nContent-Disposition: attachment; name="x"\r\n\r\nx\r\n'.encode() + FILE + END,
            "invalid_encoding",
            "",
        ),
        (f'--{B}\r\nContent-Disposition: form-data; name="x"\r\n'.encode() + FILE + END, "invalid_encoding", ""),
        (part("x", b"", '; name="model"') + FILE + END, "invalid_encoding", ""),
        (part("", b"") + FILE + END, "invalid_encoding", ""),
        (part("a b", b"") + FILE + END, "invalid_encoding", ""),
        (part("x", b"", headers="Content-Disposition: form-data\r\n") + FILE + END, "invalid_encoding", ""),
        (part("x", b"", headers="no header\r\n") + FILE + END, "invalid_encoding", ""),
        (part("x", b"", headers=f"X: {'y' * 3000}\r\n") + FILE + END, "invalid_encoding", ""),
        (part("x", b"") * 65 + FILE + END, "invalid_encoding", ""),
        (part("x", b"eA==", headers="Content-Transfer-Encoding: base64\r\n") + FILE + END, "invalid_encoding", "x"),
        (part("prompt", b"\xff") + FILE + END, "invalid_encoding", "prompt"),
        (MODEL + END, "missing_required_parameter", "file"),
        (MODEL + part("file", b"x") + END, "invalid_type", "file"),
        (MODEL + FILE + FILE + END, "invalid_value", "file"),
        (MODEL + part("model", b"other") + FILE + END, "invalid_value", "model"),
        (part("image", b"", '; filename="x"') + FILE + END, "unsupported_parameter", "image"),
        (part("file", b"", f'; filename="{"x" * 256}"') + END, "invalid_value", "file"),
        (part("file", b"", '; filename="a\tb"') + END, "invalid_value", "file"),
        (part("file", b"", '; filename="x"', "Content-Type: audio\r\n") + END, "invalid_value", "file"),
    ],
)
def test_a_form_that_is_not_one_or_could_be_read_in_two_ways_is_refused_by_name(
    body: bytes, code: str, param: str
) -> None:
    with pytest.raises(GatewayError) as refused:
        to_json(body)
    assert (refused.value.code, refused.value.param) == (code, param)


def refusal_of(body: bytes) -> GatewayError | None:
    try:
        to_json(body)
    except GatewayError as error:
        return error
    return None


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_at_all_raise_anything_but_our_error(noise: bytes, at: int) -> None:
    body = MODEL + FILE + END
    refusal = refusal_of(body[:at] + noise + body[at:])
    assert refusal is None or 400 <= refusal.status < 500


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        f"multipart/form-data; boundary={'x' * 71};",
    ],
)
def test_what_is_not_a_form_is_415(content_type: str) -> None:
    with pytest.raises(GatewayError) as refused:
        forms.boundary(content_type)
    assert refused.value.status == 415


def test_forms_are_refused_over_http_as_json_is() -> None:
    async def run() -> None:
        small = msgspec.structs.replace(CONFIG, gateway=Gateway(max_body_bytes=4000))
        async with gateway(config=small) as edge:
            for options, status, code, param in (
                ({"json": {"model": "demo"}}, 415, "unsupported_media_type", None),
                ({"data": form({})}, 400, "missing_required_parameter", "model"),
                ({"data": form({"model": ""})}, 400, "invalid_value", "model"),
                ({"data": form({"model": "demo", "file2": "x"}, b"x" * 4100)}, 413, "request_too_large", None),
                ({"data": form({"model": "demo"}, b"x" * 3200)}, 413, "request_too_large", None),
            ):
                got, _, answered = await edge.ask(ROUTE, **options)
                error = json.loads(answered)["error"]
                assert (got, error["code"], error["param"]) == (status, code, param)
            assert edge.seen == []
            assert (await edge.ask(ROUTE, data=form({"model": "demo"})))[0] == 200
            assert edge.bodies.held == 0

    asyncio.run(run())


def test_a_form_that_comes_in_pieces_is_read_whole() -> None:
    async def run() -> None:
        async with gateway() as edge:
            body = form({"model": "demo", "prompt": "hello"})()
            whole = await body.as_bytes()

            async def pieces():  # type: ignore[no-untyped-def]
                for start in range(0, len(whole), 100):
                    yield whole[start : start + 100]
                    await asyncio.sleep(0)

            status, _, _ = await edge.ask(ROUTE, data=pieces(), headers={"Content-Type": body.content_type})
            assert status == 200
            sent = json.loads(bytes(edge.seen[0].body))
            assert (sent["prompt"], base64.b64decode(sent["file"]["data"])) == ("hello", AUDIO)

    asyncio.run(run())


def test_a_large_form_goes_by_claim_check() -> None:
    async def run() -> None:
        async with gateway() as edge, aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
            data = form({"model": "demo"}, b"y" * (1 << 20))
            async with session.post(edge.url + ROUTE, data=data) as answered:
                assert answered.status == 200
            assert edge.seen[0].body_ref
            assert edge.bodies.held == 0

    asyncio.run(run())
