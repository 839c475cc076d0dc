"""The official packages, unmodified, as judges: they read our errors as their own, before a stream and inside it, and our lists."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import httpx
import msgspec
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types
from patience import PATIENCE_S
from unit.edge.edge_examples import AUDIO, MESSAGES
from unit.edge.edge_gateway import END, HEAD, KEY, Gateway, gateway

from llmproxy.common.bus import Answer
from llmproxy.common.envelope import Envelope
from llmproxy.common.frames import Data, Failure, Head

Asking = Callable[[], Awaitable[Any]]
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # Inside Google's package.


def openai_of(edge: Gateway, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=f"{edge.url}/v1", max_retries=0)


def anthropic_of(edge: Gateway, key: str = KEY) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key=key, base_url=edge.url, max_retries=0)


def google_of(edge: Gateway, key: str = KEY) -> genai.client.AsyncClient:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=edge.url)).aio


def asking(edge: Gateway, model: str, key: str = KEY) -> dict[str, Asking]:
    """One call of each API that a package has."""
    ours, theirs, googles = openai_of(edge, key), anthropic_of(edge, key), google_of(edge, key)
    messages: Any = MESSAGES
    return {
        "chat": lambda: ours.chat.completions.create(model=model, messages=messages),
        "completions": lambda: ours.completions.create(model=model, prompt="hello"),
        "responses": lambda: ours.responses.create(model=model, input="hello"),
        "embeddings": lambda: ours.embeddings.create(model=model, input="hello"),
        "moderations": lambda: ours.moderations.create(model=model, input="hello"),
        "images": lambda: ours.images.generate(model=model, prompt="hello"),
        "speech": lambda: ours.audio.speech.create(model=model, input="hello", voice="alloy"),
        "transcriptions": lambda: ours.audio.transcriptions.create(
            model=model,
            file=("a.wav", AUDIO),
            timestamp_granularities=["word"],
            chunking_strategy={"type": "server_vad"},
        ),
        "messages": lambda: theirs.messages.create(model=model, messages=messages, max_tokens=9),
        "count_tokens": lambda: theirs.messages.count_tokens(model=model, messages=messages),
        "gemini": lambda: googles.models.generate_content(model=model, contents="hello"),
        "gemini-stream": lambda: each(googles.models.generate_content_stream(model=model, contents="hello")),
    }


def status_of(raised: BaseException) -> int:
    match raised:
        case openai.APIStatusError() | anthropic.APIStatusError():
            return raised.status_code
        case google_errors.APIError():
            return raised.code
    raise raised


TYPES: dict[int, tuple[type[Exception], type[Exception], type[Exception]]] = {
    400: (openai.BadRequestError, anthropic.BadRequestError, google_errors.ClientError),
    401: (openai.AuthenticationError, anthropic.AuthenticationError, google_errors.ClientError),
    403: (openai.PermissionDeniedError, anthropic.PermissionDeniedError, google_errors.ClientError),
    404: (openai.NotFoundError, anthropic.NotFoundError, google_errors.ClientError),
    429: (openai.RateLimitError, anthropic.RateLimitError, google_errors.ClientError),
    503: (openai.InternalServerError, anthropic.InternalServerError, google_errors.ServerError),
}


async def each(stream: Awaitable[AsyncIterator[Any]]) -> None:
    """Google's package asks when the first event is."""
    async for _ in await stream:
        pass


async def raised_by(ask: Asking) -> BaseException:
    try:
        await ask()
    except (openai.APIError, anthropic.APIError, google_errors.APIError) as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize("status", sorted(TYPES))
def test_every_package_raises_its_own_type_on_each_of_its_apis(status: int) -> None:
    codes = {400: "content_blocked", 429: "provider_rate_limited", 503: "provider_overloaded"}

    def script(_: Envelope, answer: Answer) -> None:
        answer.send(Failure(code=codes[status], message="why", retry_after_ms=1))

    async def run() -> None:
        async with gateway(script) as edge:
            edge.add_key("sk-narrow", models=("other",))
            key = {401: "sk-wrong", 403: "sk-narrow"}.get(status, KEY)
            for api, ask in asking(edge, "nope" if status == 404 else "demo", key).items():
                error = await raised_by(ask)
                assert isinstance(error, TYPES[status]), (api, error)
                is_overloaded_there = status == 503 and isinstance(error, anthropic.APIError)
                assert status_of(error) == (529 if is_overloaded_there else status)
                if isinstance(error, openai.APIError):
                    assert error.code
                if isinstance(error, anthropic.APIStatusError):
                    assert error.request_id
                if isinstance(error, google_errors.APIError):
                    assert error.status
                    assert error.message

    asyncio.run(run())


STREAMS: dict[str, bytes] = {
    "chat": b'{"id":"1","object":"chat.completion.chunk","created":1,"model":"demo","choices":[]}',
    "responses": b'{"type":"response.output_text.delta","delta":"a","item_id":"1","output_index":0,"content_index":0,'
    b'"sequence_number":0,"logprobs":[]}',
    "messages": b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}',
    "gemini": b'{"candidates":[{"content":{"role":"model","parts":[{"text":"a"}]}}]}',
}


def test_an_error_inside_a_stream_is_raised_by_every_package() -> None:
    def script(envelope: Envelope, answer: Answer) -> None:
        answer.send(HEAD, Data(msgspec.Raw(STREAMS[envelope.api])))
        answer.send(Failure(code="provider_stream_broken", message="it broke"))

    async def run() -> None:
        async with gateway(script) as edge:
            messages: Any = MESSAGES
            ours, theirs, googles = openai_of(edge), anthropic_of(edge), google_of(edge)
            streams: dict[str, Any] = {
                "chat": await ours.chat.completions.create(model="demo", messages=messages, stream=True),
                "responses": await ours.responses.create(model="demo", input="hello", stream=True),
                "messages": await theirs.messages.create(model="demo", messages=messages, max_tokens=9, stream=True),
                "gemini": await googles.models.generate_content_stream(model="demo", contents="hello"),
            }
            for api, stream in streams.items():
                got: list[Any] = []

                async def read(stream: Any = stream, got: list[Any] = got) -> None:
                    async for event in stream:
                        got.append(event)

                error = await raised_by(read)
                assert len(got) == 1, api
                assert "it broke" in str(error)

    asyncio.run(run())


def test_models_are_listed_and_found_by_every_package() -> None:
    async def run() -> None:
        async with gateway() as edge:
            ours, theirs, googles = openai_of(edge), anthropic_of(edge), google_of(edge)
            assert [model.id async for model in ours.models.list()] == ["demo", "org/model", "other"]
            assert [model.id async for model in theirs.models.list()] == ["demo", "org/model", "other"]
            listed = [model.name async for model in await googles.models.list()]
            assert listed == ["models/demo", "models/org/model", "models/other"]
            assert (await theirs.models.retrieve("demo")).display_name == "demo"
            assert (await googles.models.get(model="demo")).name == "models/demo"
            assert (await ours.models.retrieve("org/model")).id == "org/model"
            missing = await raised_by(lambda: theirs.models.retrieve("nope"))
            assert isinstance(missing, anthropic.NotFoundError)

    asyncio.run(run())


def test_what_is_not_served_is_not_found_in_every_package() -> None:
    async def run() -> None:
        async with gateway() as edge:
            ours, theirs, googles = openai_of(edge), anthropic_of(edge), google_of(edge)
            for ask, kind in (
                (lambda: ours.responses.retrieve("resp_1"), openai.NotFoundError),
                (lambda: ours.responses.cancel("resp_1"), openai.NotFoundError),
                (lambda: ours.files.list(), openai.NotFoundError),
                (lambda: ours.batches.list(), openai.NotFoundError),
                (lambda: ours.vector_stores.list(), openai.NotFoundError),
                (lambda: theirs.messages.batches.list(), anthropic.NotFoundError),
                (lambda: googles.models.count_tokens(model="demo", contents="x"), google_errors.ClientError),
                (lambda: googles.caches.list(), google_errors.ClientError),
            ):
                error = await raised_by(ask)  # type: ignore[arg-type]
                assert isinstance(error, kind)
                assert "is not served by this gateway" in str(error)

    asyncio.run(run())


def test_speech_and_transcription_are_carried_for_the_package() -> None:
    def script(envelope: Envelope, answer: Answer) -> None:
        if envelope.api == "speech":
            answer.send(Head(content_type="audio/mpeg"), Data(msgspec.Raw(msgspec.json.encode(AUDIO))), END)
        else:
            answer.send(HEAD, Data(msgspec.Raw(b'{"text":"hello"}')), END)

    async def run() -> None:
        async with gateway(script) as edge:
            ours = openai_of(edge)
            spoken = await ours.audio.speech.create(model="demo", input="hello", voice="alloy")
            assert spoken.content == AUDIO
            assert spoken.response.headers["content-type"] == "audio/mpeg"
            heard = await ours.audio.transcriptions.create(
                model="demo",
                file=("a.wav", AUDIO, "audio/wav"),
                prompt="names: Zo\u00eb",
                temperature=0.2,
                timestamp_granularities=["word", "segment"],
                chunking_strategy={"type": "server_vad"},
            )
            assert heard.text == "hello"
            sent = msgspec.json.decode(bytes(edge.seen[-1].body))
            upload = sent.pop("file")
            assert (upload["filename"], upload["content_type"]) == ("a.wav", "audio/wav")
            assert sent == {
                "model": "demo",
                "prompt": "names: Zo\u00eb",
                "temperature": "0.2",
                "timestamp_granularities[]": ["word", "segment"],
                "chunking_strategy[type]": "server_vad",
            }

    asyncio.run(run())


def test_a_key_in_the_url_is_what_old_clients_of_google_send_and_they_are_told() -> None:
    async def run() -> None:
        async with gateway() as edge, httpx.AsyncClient(timeout=PATIENCE_S) as plain:
            answered = await plain.post(
                f"{edge.url}/v1beta/models/demo:generateContent?key={KEY}", json={"contents": []}
            )
            assert answered.status_code == 401
            assert "x-goog-api-key" in answered.json()["error"]["message"]

    asyncio.run(run())
