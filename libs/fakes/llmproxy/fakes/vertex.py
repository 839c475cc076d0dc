"""A fake Vertex AI: Google's models and Anthropic's, behind OAuth. https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest"""

from typing import Any

from msgspec import Struct

from llmproxy.fakes import anthropic
from llmproxy.fakes.conversation import KEY, Asked, Behaviour, Recorded, Refused, Script
from llmproxy.fakes.google import VERTEX_PATH, generation, google_error
from llmproxy.fakes.openai.chat import Chat
from llmproxy.fakes.openai.plain import vector
from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.shapes import Misfit, fit
from llmproxy.fakes.vendor import Body, Operation, Whole, as_json, bearer, check_model

FIRST_VERSION = "vertex-2023-10-16"  # The version is in the body here, and the first one has another name.
VERSIONS = {FIRST_VERSION: anthropic.FIRST_VERSION, anthropic.VERSIONS[-1]: anthropic.VERSIONS[-1]}


class Claude(anthropic.Messages):
    """Anthropic's messages: the model is in the path, the version in the body."""

    def __init__(self, model: str, method: str) -> None:
        self._model, self._method = model, method

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        body = dict(recorded.json)
        version = VERSIONS.get(body.pop("anthropic_version", ""))
        if version is None:
            raise Refused("anthropic_version: Field required")
        if "model" in body:
            raise Refused("model: Extra inputs are not permitted")
        body["model"] = self._model
        request = anthropic.read(body, anthropic.Request, behaviour)
        check_model(self._model, behaviour, f"Publisher Model `{self._model}` not found.")
        anthropic.check(request, body, version)
        anthropic.check_messages(request)
        is_stream = bool(request.stream)
        if is_stream and self._method != "streamRawPredict":
            raise Refused("stream: only with streamRawPredict")
        return anthropic.asked_of(request, stream=is_stream)


class Instance(Struct, frozen=True, forbid_unknown_fields=True):
    content: str
    task_type: str | None = None
    title: str | None = None


class PredictRequest(Struct, frozen=True, forbid_unknown_fields=True):
    instances: list[Instance]
    parameters: dict[str, Any] | None = None


class Predict(Whole):
    """Embeddings."""

    def __init__(self, model: str) -> None:
        self._model = model

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        try:
            request = fit(recorded.json, PredictRequest, ignore_unknown=not behaviour.strict_fields)
        except Misfit as misfit:
            raise Refused(f"Invalid value at '{misfit.path}': {misfit.what}") from None
        return Asked(self._model, inputs=tuple(one.content for one in request.instances))

    def answer(self, script: Script, asked: Asked) -> Body:
        def made(text: str) -> dict[str, Any]:
            statistics = {"truncated": False, "token_count": len(text.split())}
            return {"embeddings": {"values": vector(text), "statistics": statistics}}

        return as_json({"predictions": [made(text) for text in asked.inputs]})


class Vertex:
    name = "vertex"
    key = KEY
    base = "/v1/projects/fake-project/locations/europe-west1"
    overloaded = 503
    call_id = "toolu_vrtx_{:06d}"

    def operation(self, method: str, path: str) -> Operation | None:
        if method != "POST":
            return None
        if path.endswith("/endpoints/openapi/chat/completions"):
            return Chat(Variant(name="vertex"))
        found = VERTEX_PATH.fullmatch(path)
        if found is None:
            return None
        if found["publisher"] == "anthropic":
            return (
                Claude(found["model"], found["method"])
                if found["method"] in ("rawPredict", "streamRawPredict")
                else None
            )
        if found["method"] == "predict":
            return Predict(found["model"])
        return generation(found["model"], found["method"], needs_role=True)

    def accepts(self, recorded: Recorded, key: str) -> bool:
        return key in (bearer(recorded.headers), recorded.headers.get("x-goog-api-key"))

    def error(self, refused: Refused) -> dict[str, Any]:
        return google_error(refused)


VERTEX = Vertex()
