"""OpenAI's APIs that answer once and hold no conversation: embeddings, moderations, images, speech, transcriptions, models."""

import hashlib
import struct
from base64 import b64encode
from email import message_from_bytes
from typing import Any, Literal

from msgspec import Struct

from llmproxy.fakes.conversation import Asked, Behaviour, Recorded, Refused, Script
from llmproxy.fakes.openai.chat_answers import CREATED
from llmproxy.fakes.openai.chat_checks import refusal
from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.shapes import Misfit, T, fit, words
from llmproxy.fakes.vendor import Body, Whole, as_json, check_model, sse

DIMENSIONS = 8
SPEECH_CHARACTERS_MAX = 4096
FLAGGED = "flag this"  # A text that says so is flagged.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
VOICES = words("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse")
SPEECH_TYPES = {
    "mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm",
}  # fmt: skip

SPEECH_STARTS = {"mp3": b"ID3", "opus": b"OggS", "aac": b"\xff\xf1", "flac": b"fLaC", "wav": b"RIFF", "pcm": b"\x00"}


def read(recorded: Recorded, kind: type[T], behaviour: Behaviour, variant: Variant) -> T:
    try:
        return fit(recorded.json, kind, ignore_unknown=variant.ignores_unknown or not behaviour.strict_fields)
    except Misfit as misfit:
        raise refusal(misfit, variant.unknown_status) from None


def vector(text: str, size: int = DIMENSIONS) -> list[float]:
    """Numbers that depend on every character."""
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[index % len(digest)] / 256 for index in range(size)]


class One(Whole):
    def __init__(self, variant: Variant) -> None:
        self.variant = variant


class EmbeddingRequest(Struct, frozen=True, forbid_unknown_fields=True):
    input: str | list[str | int | list[int]]
    model: str
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class Embeddings(One):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, EmbeddingRequest, behaviour, self.variant)
        check_model(request.model, behaviour, f"The model `{request.model}` does not exist")
        given = [request.input] if isinstance(request.input, str) else request.input
        if not given or "" in given:
            raise Refused("'$.input' is invalid. Please check the API reference.", 400, "input")
        inputs = [str(given)] if isinstance(given[0], int) else [str(one) for one in given]
        size = request.dimensions or DIMENSIONS
        return Asked(request.model, inputs=tuple(inputs), extra={"form": request.encoding_format, "size": size})

    def answer(self, script: Script, asked: Asked) -> Body:
        def written(text: str) -> Any:
            found = vector(text, asked.extra["size"])
            return (
                b64encode(struct.pack(f"<{len(found)}f", *found)).decode() if asked.extra["form"] == "base64" else found
            )

        data = [
            {"object": "embedding", "index": index, "embedding": written(text)}
            for index, text in enumerate(asked.inputs)
        ]
        usage = {"prompt_tokens": script.input_tokens, "total_tokens": script.input_tokens}
        return as_json({"object": "list", "data": data, "model": asked.model, "usage": usage})


class ModerationText(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class ModerationUrl(Struct, frozen=True):
    url: str


class ModerationImage(Struct, frozen=True, tag_field="type", tag="image_url"):
    image_url: ModerationUrl


class Moderations(One):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        body = recorded.json
        # A list of texts and a list of parts are no union that the decoder knows.
        if (
            isinstance(body, dict)
            and isinstance(body.get("input"), list)
            and all(isinstance(one, str) for one in body["input"])
        ):
            request = read_as(recorded, {**body, "input": ""}, behaviour, self.variant)
            inputs = tuple(body["input"])
        else:
            request = read_as(recorded, body, behaviour, self.variant)
            parts = request.input if isinstance(request.input, list) else []
            texts = [one.text for one in parts if isinstance(one, ModerationText)]
            inputs = (" ".join(texts) if parts else str(request.input),)
        check_model(request.model, behaviour, f"The model `{request.model}` does not exist")
        return Asked(request.model, inputs=inputs)

    def answer(self, script: Script, asked: Asked) -> Body:
        results = [judged(text) for text in asked.inputs]
        if self.variant.name == "mistral":  # It says no more than this.
            results = [{name: one[name] for name in ("categories", "category_scores")} for one in results]
        return as_json({"id": "modr-fake", "model": asked.model, "results": results})


def read_as(recorded: Recorded, body: Any, behaviour: Behaviour, variant: Variant) -> "PartsRequest":
    try:
        return fit(body, PartsRequest, ignore_unknown=variant.ignores_unknown or not behaviour.strict_fields)
    except Misfit as misfit:
        raise refusal(misfit, variant.unknown_status) from None


class PartsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    input: str | list[ModerationText | ModerationImage]
    model: str = "omni-moderation-latest"


def judged(text: str) -> dict[str, Any]:
    flagged = FLAGGED in text.lower()
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == "violence" for name in CATEGORIES},
        "category_scores": {name: 0.9 if flagged and name == "violence" else 0.01 for name in CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }


class ImageRequest(Struct, frozen=True, forbid_unknown_fields=True):
    prompt: str
    model: str = "gpt-image-1"
    background: str | None = None
    moderation: str | None = None
    n: int | None = None
    output_compression: int | None = None
    output_format: str | None = None
    partial_images: int | None = None
    quality: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    size: str | None = None
    stream: bool | None = None
    style: str | None = None
    user: str | None = None
    complexity: str | None = None
    safety_identifier: str | None = None


class Images(One):
    stream_type = "text/event-stream"

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, ImageRequest, behaviour, self.variant)
        check_model(request.model, behaviour, f"The model `{request.model}` does not exist")
        if not request.prompt:
            raise Refused("Invalid 'prompt': empty string.", 400, "prompt")
        is_gpt = request.model.startswith("gpt-image")
        if is_gpt and request.response_format is not None:
            raise Refused("Unknown parameter: 'response_format'.", 400, "response_format", "unknown_parameter")
        if not 1 <= (request.n or 1) <= 10:
            raise Refused("Invalid 'n': must be between 1 and 10.", 400, "n")
        by_url = not is_gpt and request.response_format != "b64_json"
        extra = {"prompt": request.prompt, "url": by_url}
        return Asked(request.model, stream=bool(request.stream), choices=request.n or 1, extra=extra)

    def answer(self, script: Script, asked: Asked) -> Body:
        image = {"url": "https://example.org/image.png"} if asked.extra["url"] else {"b64_json": PIXEL}
        if self.variant.name != "openai" or asked.extra["url"]:
            image["revised_prompt"] = asked.extra["prompt"]
        reply: dict[str, Any] = {"created": CREATED, "data": [image] * asked.choices}
        if not asked.extra["url"]:
            reply["usage"] = image_usage(script)
        return as_json(reply)

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        shown = {
            "b64_json": PIXEL,
            "created_at": CREATED,
            "size": "1024x1024",
            "quality": "high",
            "background": "opaque",
            "output_format": "png",
        }
        partial: dict[str, Any] = {"type": "image_generation.partial_image", "partial_image_index": 0, **shown}
        done: dict[str, Any] = {"type": "image_generation.completed", **shown, "usage": image_usage(script)}
        return [sse(one, one["type"]) for one in (partial, done)]


def image_usage(script: Script) -> dict[str, Any]:
    return {
        "input_tokens": script.input_tokens,
        "output_tokens": script.output_tokens,
        "total_tokens": script.input_tokens + script.output_tokens,
        "input_tokens_details": {"text_tokens": script.input_tokens, "image_tokens": 0},
    }


class SpeechRequest(Struct, frozen=True, forbid_unknown_fields=True):
    input: str
    model: str
    voice: str | dict[str, Any]
    instructions: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float | None = None
    stream_format: Literal["audio", "sse"] | None = None


class Speech(One):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, SpeechRequest, behaviour, self.variant)
        check_model(request.model, behaviour, f"The model `{request.model}` does not exist")
        if not 1 <= len(request.input) <= SPEECH_CHARACTERS_MAX:
            raise Refused(f"Invalid 'input': must have 1 to {SPEECH_CHARACTERS_MAX} characters.", 400, "input")
        if self.variant.name == "openai" and isinstance(request.voice, str) and request.voice not in VOICES:
            raise Refused(
                f"Invalid value: '{request.voice}'. Supported values are: {', '.join(sorted(VOICES))}.", 400, "voice"
            )
        return Asked(request.model, inputs=(request.input,), extra={"format": request.response_format})

    def answer(self, script: Script, asked: Asked) -> Body:
        """Not sound: bytes that begin as the format does, are no text, and prove which text was spoken."""
        (text,), form = asked.inputs, asked.extra["format"]
        return Body(SPEECH_STARTS[form] + b"\x00\xff\xfe" + hashlib.sha256(text.encode()).digest(), SPEECH_TYPES[form])


class Transcriptions(One):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        form = form_of(recorded)
        if "file" not in form:
            raise Refused("Missing required parameter: 'file'.", 400, "file", "missing_required_parameter")
        model = form.get("model", (b"", ""))[0].decode()
        if not model:
            raise Refused("you must provide a model parameter", 400, "model", "missing_required_parameter")
        check_model(model, behaviour, f"The model `{model}` does not exist")
        data, filename = form["file"]
        if not filename:
            raise Refused("Unrecognized file format.", 400, "file")
        wanted = form.get("response_format", (b"json", ""))[0].decode()
        said = f"{filename}, {len(data)} bytes, {hashlib.sha256(data).hexdigest()[:8]}"
        return Asked(model, inputs=(said,), extra={"format": wanted})

    def answer(self, script: Script, asked: Asked) -> Body:
        text = f"This was said in {asked.inputs[0]}."
        match asked.extra["format"]:
            case "text":
                return Body(f"{text}\n".encode(), "text/plain")
            case "verbose_json":
                segment = {
                    "id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": text, "tokens": [1], "temperature": 0.0,
                    "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.01,
                }  # fmt: skip
                return as_json(
                    {"task": "transcribe", "language": "english", "duration": 1.0, "text": text, "segments": [segment]}
                )
        usage = {
            "type": "tokens", "input_tokens": script.input_tokens, "output_tokens": script.output_tokens,
            "total_tokens": script.input_tokens + script.output_tokens,
            "input_token_details": {"text_tokens": 0, "audio_tokens": script.input_tokens},
        }  # fmt: skip
        return as_json({"text": text, "usage": usage})


def form_of(recorded: Recorded) -> dict[str, tuple[bytes, str]]:
    """Name -> (content, file name) of a multipart form."""
    kind = recorded.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise Refused("Could not parse multipart form", 400)
    message = message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + recorded.body)
    found: dict[str, tuple[bytes, str]] = {}
    for part in message.get_payload() if message.is_multipart() else []:
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        content = part.get_payload(decode=True)  # type: ignore[union-attr]
        found[str(name)] = (content if isinstance(content, bytes) else b"", part.get_filename() or "")  # type: ignore[union-attr]
    return found


class RerankRequest(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    query: str
    documents: list[str | dict[str, Any]]
    top_n: int | None = None
    return_documents: bool | None = None
    rank_fields: list[str] | None = None


class Rerank(One):
    """Not OpenAI's: what its imitators took over from Cohere and Jina."""

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        request = read(recorded, RerankRequest, behaviour, self.variant)
        check_model(request.model, behaviour, f"The model `{request.model}` does not exist")
        if not request.documents:
            raise Refused("documents must not be empty", 400, "documents")
        texts = tuple(one if isinstance(one, str) else str(one.get("text")) for one in request.documents)
        extra = {"query": request.query, "top": request.top_n or len(texts), "shown": bool(request.return_documents)}
        return Asked(request.model, inputs=texts, extra=extra)

    def answer(self, script: Script, asked: Asked) -> Body:
        ranked = ranking(asked.extra["query"], asked.inputs)[: asked.extra["top"]]
        results = [{"index": index, "relevance_score": score, **self._shown(asked, index)} for index, score in ranked]
        name = "data" if self.variant.name == "fireworks" else "results"
        usage = {"prompt_tokens": script.input_tokens, "total_tokens": script.input_tokens}
        return as_json({"id": "rerank-fake", "object": "rerank", "model": asked.model, name: results, "usage": usage})

    def _shown(self, asked: Asked, index: int) -> dict[str, Any]:
        shown = asked.extra["shown"] or self.variant.name == "vllm"
        return {"document": {"text": asked.inputs[index]}} if shown else {}


def ranking(query: str, documents: tuple[str, ...]) -> list[tuple[int, float]]:
    """(index, score), best first: by how many words of the query a document holds."""
    words = set(query.lower().split()) or {""}
    scores = [
        (index, round(len(words & set(text.lower().split())) / len(words), 4)) for index, text in enumerate(documents)
    ]
    return sorted(scores, key=lambda one: (-one[1], one[0]))


class Models(One):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        return Asked(inputs=behaviour.models or (f"{self.variant.name}-model",))

    def answer(self, script: Script, asked: Asked) -> Body:
        data = [
            {"id": name, "object": "model", "created": CREATED, "owned_by": self.variant.name} for name in asked.inputs
        ]
        return as_json({"object": "list", "data": data})
