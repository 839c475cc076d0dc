"""APIs that pass through to servers of OpenAI's format: the body aimed, the answer counted, errors found."""

import base64
import json
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion, ImageGenCompletedEvent, ImagesResponse, ModerationCreateResponse
from openai.types.audio import Transcription, TranscriptionTextDoneEvent

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters.demo import Demo
from llmproxy.provider_workers.natives.completions import Completions
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.natives.images import Images
from llmproxy.provider_workers.natives.moderations import Moderations
from llmproxy.provider_workers.natives.passing import Passing, api_url
from llmproxy.provider_workers.natives.rerank import Rerank
from llmproxy.provider_workers.natives.speech import Speech
from llmproxy.provider_workers.natives.transcriptions import Transcriptions
from llmproxy.provider_workers.wire import HttpRequest, Origin, StreamTranslator, Target

BASE = "https://v.example/v1"
HERE = Origin(id="r", model="m", created=1)
ALL: list[Passing] = [
    kind(BASE) for kind in (Completions, Embeddings, Images, Moderations, Rerank, Speech, Transcriptions)
]
JSON_APIS = [wire for wire in ALL if not isinstance(wire, Speech | Transcriptions)]
each = pytest.mark.parametrize("wire", ALL, ids=lambda wire: type(wire).__name__)
each_json = pytest.mark.parametrize("wire", JSON_APIS, ids=lambda wire: type(wire).__name__)


def send(wire: Passing, body: bytes, *, stream: bool = False, url: str = "") -> HttpRequest:
    return wire.request(body, Target(model="big", stream=stream, url=url))


# --- Requests


@each_json
def test_only_the_model_changes(wire: Passing) -> None:
    body = b'{"z": [1.50, 1e3], "model": "mine", "new": {"b": null, "a": "\\u00e9"}, "input": "x"}'
    assert send(wire, body).body == b'{"z":[1.50, 1e3],"model":"big","new":{"b": null, "a": "\\u00e9"},"input":"x"}'


@each_json
def test_a_body_that_says_so_already_is_untouched(wire: Passing) -> None:
    body = b'{ "model": "big",  "input": "x" }'
    assert send(wire, body).body is body


@each
def test_a_body_that_is_no_object_is_refused(wire: Passing) -> None:
    for body in (b"", b"[]", b"{", b'"x"', b"\xff"):
        with pytest.raises(GatewayError) as caught:
            send(wire, body)
        assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("wire", [wire for wire in ALL if not wire.streams], ids=lambda wire: type(wire).__name__)
def test_an_api_without_streams_refuses_one(wire: Passing) -> None:
    with pytest.raises(GatewayError) as caught:
        send(wire, b'{"model": "m", "stream": true}', stream=True)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "stream")


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://v.example", "https://v.example/v1/audio/speech"),
        ("https://v.example/", "https://v.example/v1/audio/speech"),
        ("https://v.example/openai/v1/", "https://v.example/openai/v1/audio/speech"),
        ("https://v.example/v1/chat/completions", "https://v.example/v1/audio/speech"),
        ("https://v.example/v1/audio/speech", "https://v.example/v1/audio/speech"),
        (
            "https://a.example/openai/deployments/d?api-version=1",
            "https://a.example/openai/deployments/d/audio/speech?api-version=1",
        ),
    ],
)
def test_the_address_is_the_apis_beside_the_base(base: str, url: str) -> None:
    assert api_url(base, "audio/speech") == url
    assert send(Speech(BASE), b'{"model": "m"}', url=base).url == url


def test_a_vendor_may_have_places_of_its_own() -> None:
    wire = Rerank(BASE, lambda base, path, model: f"{base}/{model}/{path}")
    assert send(wire, b'{"model": "m"}').url == f"{BASE}/big/rerank"


def test_a_stream_of_completions_is_asked_for_its_usage() -> None:
    made = send(Completions(BASE), b'{"model": "big", "stream": true, "stream_options": {"x": 1}}', stream=True)
    assert json.loads(made.body)["stream_options"] == {"x": 1, "include_usage": True}
    with pytest.raises(GatewayError) as caught:
        send(Completions(BASE), b'{"model": "m", "stream": true, "stream_options": 5}', stream=True)
    assert caught.value.param == "stream_options"


@pytest.mark.parametrize(
    ("body", "stream", "said"),
    [
        ({}, False, {}),
        ({}, True, {"stream_format": "sse"}),
        ({"stream_format": "sse"}, False, {"stream_format": "audio"}),
        ({"stream_format": "audio"}, True, {"stream_format": "sse"}),
        ({"stream": True}, True, {"stream": True, "stream_format": "sse"}),
    ],
)
def test_speech_is_asked_for_the_form_that_will_be_read(body: dict[str, Any], stream: bool, said: Any) -> None:
    made = send(Speech(BASE), json.dumps({"model": "m", "input": "Hi", **body}).encode(), stream=stream)
    assert json.loads(made.body) == {"model": "big", "input": "Hi", **said}


# --- Forms


def fields_of(made: HttpRequest) -> list[tuple[str, str | None, str, bytes]]:
    """(name, filename, content type, content) of each part, as the standard library reads them."""
    head = f"content-type: {dict(made.headers)['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + made.body)
    found = []
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        found.append((name, part.get_filename(), part.get_content_type(), part.get_payload(decode=True)))
    return found


def file(data: bytes, **more: str) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode(), **more}


def test_a_transcription_is_sent_as_a_form() -> None:
    sound = bytes(range(256))
    body = {
        "model": "mine",
        "file": file(sound, filename="a b.mp3", content_type="audio/mpeg"),
        "language": "de",
        "temperature": 0.50,
        "timestamp_granularities[]": ["word", "segment"],
        "prompt": None,
        "chunking_strategy": {"type": "server_vad"},
    }
    made = send(Transcriptions(BASE), json.dumps(body).encode())
    assert made.url == f"{BASE}/audio/transcriptions"
    assert fields_of(made) == [
        ("model", None, "text/plain", b"big"),
        ("file", "a b.mp3", "audio/mpeg", sound),
        ("language", None, "text/plain", b"de"),
        ("temperature", None, "text/plain", b"0.5"),
        ("timestamp_granularities[]", None, "text/plain", b"word"),
        ("timestamp_granularities[]", None, "text/plain", b"segment"),
        ("chunking_strategy", None, "text/plain", b'{"type": "server_vad"}'),
    ]


@pytest.mark.parametrize(("said", "stream"), [('"true"', False), ("true", False), ('"false"', True), ("false", True)])
def test_a_form_says_whether_it_will_be_streamed(said: str, stream: bool) -> None:
    body = f'{{"model": "m", "stream": {said}, "file": {{"data": "AA=="}}}}'.encode()
    made = send(Transcriptions(BASE), body, stream=stream)
    assert ("stream", None, "text/plain", b"true" if stream else b"false") in fields_of(made)


def test_names_cannot_begin_a_header_of_their_own() -> None:
    name = 'x"\r\nx-evil: 1\r\n\r\n'
    hostile = file(b"a", filename=name, content_type="a/b\r\nx-evil: 1")
    body = json.dumps({"model": "m", name: "v", "file": hostile}).encode()
    made = send(Transcriptions(BASE), body)
    assert b"\r\nx-evil" not in made.body
    assert b"content-type: application/octet-stream" in made.body
    assert len(fields_of(made)) == 3


@given(st.binary(max_size=300), st.text(max_size=20))
def test_a_form_is_read_as_it_was_meant(data: bytes, prompt: str) -> None:
    body = json.dumps({"model": "m", "prompt": prompt, "file": file(data, filename="f")}).encode()
    found = fields_of(send(Transcriptions(BASE), body))
    assert found[2] == ("file", "f", "application/octet-stream", data)
    assert found[1][3] == prompt.encode()


def test_a_file_that_is_not_base64_is_refused_by_name() -> None:
    with pytest.raises(GatewayError) as caught:
        send(Transcriptions(BASE), b'{"model": "m", "file": {"data": "!!"}}')
    assert (caught.value.code, caught.value.param) == ("invalid_value", "file.data")


def test_images_are_generated_from_json_and_edited_from_a_form() -> None:
    made = send(Images(BASE), b'{"model": "big", "prompt": "a dot", "n": 2}')
    assert (made.url, made.body) == (f"{BASE}/images/generations", b'{"model": "big", "prompt": "a dot", "n": 2}')
    for name, value in (("image", file(b"p")), ("image[]", [file(b"p"), file(b"q")])):
        edited = send(Images(BASE), json.dumps({"model": "m", "prompt": "b", name: value}).encode())
        assert edited.url == f"{BASE}/images/edits"
        assert [part[0] for part in fields_of(edited)][2:] == [name] * (1 if name == "image" else 2)


# --- Answers


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(input=8)),
        ({"results": [], "usage": {"total_tokens": 15}}, Usage(input=15)),
        ({"results": [], "meta": {"billed_units": {"search_units": 1}}}, Usage()),
        (
            {"results": [], "meta": {"billed_units": {"input_tokens": 12.0, "output_tokens": 3}}},
            Usage(input=12, output=3),
        ),
        (
            {"data": [], "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}},
            Usage(input=50, output=4160),
        ),
        ({"text": "x", "usage": {"type": "duration", "seconds": 3}}, Usage()),
        ({"data": [], "usage": {"prompt_tokens": -5, "total_tokens": -5}}, Usage()),
        (
            {"data": [], "usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}},
            Usage(input=9, cache_read=4),
        ),
        ({"data": [], "usage": None}, Usage()),
    ],
)
def test_each_vendors_counts_are_read(body: dict[str, Any], usage: Usage) -> None:
    raw = json.dumps(body).encode()
    answer = Embeddings(BASE).response(raw, HERE)
    assert answer.json is raw
    assert (answer.failure, answer.usage) == (None, usage)


@each
def test_an_error_inside_a_200_is_a_failure(wire: Passing) -> None:
    answer = wire.response(b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', HERE)
    assert answer.failure is not None
    assert answer.failure.code == "provider_rate_limited"
    text = wire.response(b'{"error": "boom"}', HERE)
    assert text.failure is not None
    assert text.failure.code == "provider_error"


@each_json
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"\xff\xfe"])
def test_an_answer_that_cannot_be_read_is_a_failure(wire: Passing, body: bytes) -> None:
    answer = wire.response(body, HERE)
    assert answer.failure is not None
    assert answer.failure.code == "provider_bad_answer"


@pytest.mark.parametrize(
    ("sound", "kind"),
    [
        (b"ID3\x04rest", "audio/mpeg"),
        (b"\xff\xf3\x44", "audio/mpeg"),
        (b"OggS\x00", "audio/ogg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"fLaC\x00", "audio/flac"),
        (b"RIFF\x24\x00\x00\x00WAVE", "audio/wav"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"<html><script>", "application/octet-stream"),
    ],
)
def test_sound_says_itself_what_it_is(sound: bytes, kind: str) -> None:
    answer = Speech(BASE).response(sound, HERE)
    assert (answer.failure, answer.content_type) == (None, kind)
    assert base64.b64decode(json.loads(answer.json)) == sound


def test_no_sound_is_a_failure() -> None:
    assert Speech(BASE).response(b"", HERE).failure is not None


def test_a_transcript_is_json_or_text() -> None:
    answer = Transcriptions(BASE).response(
        b'{"text": "Hi", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16}}', HERE
    )
    Transcription.model_validate_json(answer.json, strict=True)
    assert (answer.content_type, answer.usage) == ("", Usage(input=14, output=2))
    for body, kind in (("1\n00:00 --> 00:01\nHé", "text/plain"), ("WEBVTT\n\nHé", "text/vtt")):
        text = Transcriptions(BASE).response(body.encode(), HERE)
        assert base64.b64decode(json.loads(text.json)).decode() == body
        assert text.content_type == f"{kind}; charset=utf-8"
        assert text.usage.estimated
    assert Transcriptions(BASE).response(b"\xff\xfe", HERE).failure is not None


def test_answers_are_what_the_openai_package_expects() -> None:
    image = b'{"created": 1, "data": [{"b64_json": "AA=="}], "usage": {"input_tokens": 1, "input_tokens_details": {"image_tokens": 0, "text_tokens": 1}, "output_tokens": 2, "total_tokens": 3}}'
    answer = Images(BASE).response(image, HERE)
    ImagesResponse.model_validate_json(answer.json, strict=True)
    assert answer.usage == Usage(input=1, output=2)


def test_the_demo_finds_nothing_wrong_in_the_form_of_who_looked() -> None:
    for given_input, results in (("a", 1), (["a", "b"], 2), ([{"type": "text", "text": "a"}], 1)):
        answer = Demo().others["moderations"](json.dumps({"model": "m", "input": given_input}).encode(), HERE)
        found = ModerationCreateResponse.model_validate_json(answer.json, strict=True)
        assert len(found.results) == results
        assert not any(result.flagged for result in found.results)
    with pytest.raises(GatewayError):
        Demo().others["moderations"](b'{"model": "m", "input": []}', HERE)


# --- Streams


def sse(*events: dict[str, Any] | str) -> bytes:
    texts = (event if isinstance(event, str) else json.dumps(event, ensure_ascii=False) for event in events)
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def chunk(text: str, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return {"id": "c", "object": "text_completion", "created": 1, "model": "big", "choices": [choice]}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TOTAL = {"id": "c", "object": "text_completion", "created": 1, "model": "big", "choices": [], "usage": USAGE}
IMAGE = {
    "type": "image_generation.completed",
    "b64_json": "AA==",
    "background": "auto",
    "created_at": 1,
    "output_format": "png",
    "quality": "low",
    "size": "auto",
    "usage": {
        "input_tokens": 1,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 1},
        "output_tokens": 2,
        "total_tokens": 3,
    },
}
HEARD = {
    "type": "transcript.text.done",
    "text": "Hé you",
    "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16},
}
STREAMS: dict[str, tuple[Passing, bytes, Usage]] = {
    "completions": (
        Completions(BASE),
        sse(chunk("Hé"), chunk(" you"), chunk("", "stop"), TOTAL, "[DONE]"),
        Usage(input=3, output=2),
    ),
    "completions_without_done": (Completions(BASE), sse(chunk("Hé"), chunk("", "length")), Usage()),
    "completions_choices": (
        Completions(BASE),
        sse(chunk("A"), chunk("B", index=1), chunk("", "stop"), chunk("", "stop", 1), "[DONE]"),
        Usage(),
    ),
    "images": (
        Images(BASE),
        sse({"type": "image_generation.partial_image", "b64_json": "AA==", "partial_image_index": 0}, IMAGE),
        Usage(input=1, output=2),
    ),
    "transcriptions": (
        Transcriptions(BASE),
        sse({"type": "transcript.text.delta", "delta": "Hé"}, HEARD, "[DONE]"),
        Usage(input=14, output=2),
    ),
    "speech": (
        Speech(BASE),
        sse(
            {"type": "speech.audio.delta", "audio": "AA=="},
            {"type": "speech.audio.done", "usage": {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13}},
        ),
        Usage(input=4, output=9),
    ),
}
streamed = pytest.mark.parametrize("name", STREAMS)


def run(wire: Passing, pieces: list[bytes], origin: Origin = HERE) -> tuple[StreamTranslator, list[bytes]]:
    translator = wire.events(origin)
    out = [event for piece in pieces for event in translator.feed(piece)]
    return translator, [*out, *translator.finish()]


@streamed
def test_a_stream_comes_as_it_is_however_the_network_cuts_it(name: str) -> None:
    wire, data, usage = STREAMS[name]
    expected = [line[6:] for line in data.splitlines() if line and line != b"data: [DONE]"]
    expected = [event for event in expected if b'"choices": []' not in event]
    cuts = [[data[:at], data[at:]] for at in range(len(data))]
    for pieces in [*cuts, [data[at : at + 1] for at in range(len(data))]]:
        translator, out = run(wire, pieces)
        assert out == expected
        assert translator.complete
        assert translator.usage == usage
        assert translator.finish_reason in ("stop", "length")
        assert translator.text_chars > 0


@streamed
def test_a_stream_cut_short_is_never_whole(name: str) -> None:
    wire, data, _ = STREAMS[name]
    last = max(data.rfind(word) for word in (b'"finish_reason": "', b".completed", b".done"))
    for at in range(last):
        translator, _ = run(wire, [data[:at]])
        assert not translator.complete
        assert translator.failure is not None
        assert translator.failure.code == "provider_stream_broken"


@streamed
def test_an_error_inside_a_stream_ends_it(name: str) -> None:
    wire, data, _ = STREAMS[name]
    first = data[: data.index(b"\n\n") + 2]
    translator, out = run(
        wire, [first, sse({"type": "error", "error": {"message": "x", "type": "server_error"}}), data]
    )
    assert len(out) == 1
    assert translator.failure is not None
    assert translator.failure.code == "provider_error"


def test_a_model_that_does_not_stream_is_heard_all_the_same() -> None:
    """whisper-1 ignores `stream`."""
    data = b' \n{"text": "H\xc3\xa9", "usage": {"type": "duration", "seconds": 3}}'
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        translator, out = run(Transcriptions(BASE), pieces)
        TranscriptionTextDoneEvent.model_validate({**json.loads(out[0]), "usage": None}, strict=True)
        assert json.loads(out[0])["text"] == "Hé"
        assert translator.complete
    for cut in (data[:-3], b'{"error": {"message": "x", "type": "server_error"}}'):
        translator, out = run(Transcriptions(BASE), [cut])
        assert out == []
        assert translator.failure is not None


def test_an_empty_reason_finishes_no_choice_of_a_completion() -> None:
    translator, _ = run(Completions(BASE), [sse(chunk("Hé", ""), chunk("y", ""))])
    assert translator.failure is not None
    assert translator.failure.code == "provider_stream_broken"


def test_who_asked_for_the_usage_of_completions_sees_it() -> None:
    wire, data, _ = STREAMS["completions"]
    _, out = run(wire, [data], Origin(id="r", model="m", created=1, include_usage=True))
    assert json.loads(out[-1])["usage"] == USAGE


def test_last_events_are_what_the_openai_package_expects() -> None:
    ImageGenCompletedEvent.model_validate(IMAGE, strict=True)
    TranscriptionTextDoneEvent.model_validate(HEARD, strict=True)
    whole = {**chunk("Hi", "stop"), "usage": USAGE}
    Completion.model_validate(whole, strict=True)
    answer = Completions(BASE).response(json.dumps(whole).encode(), HERE)
    assert (answer.usage, answer.finish) == (Usage(input=3, output=2), "stop")
