"""The old completions, from the server's side. https://platform.openai.com/docs/api-reference/completions"""

from typing import Any

from msgspec import Struct

from llmproxy.fakes.conversation import Asked, Behaviour, Recorded, Refused, Script, Turn
from llmproxy.fakes.openai.chat_answers import CREATED
from llmproxy.fakes.openai.chat_checks import refusal
from llmproxy.fakes.openai.chat_request import StreamOptions
from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.shapes import Misfit, fit
from llmproxy.fakes.vendor import Body, as_json, check_model, sse


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    prompt: str | list[str | int | list[int]] | None = None
    best_of: int | None = None
    echo: bool | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, int] | None = None
    logprobs: int | None = None
    max_tokens: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None


class Completions:
    stream_type = "text/event-stream"

    def __init__(self, variant: Variant) -> None:
        self.keep_alive = variant.keep_alive
        self._ignores = variant.ignores_unknown

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        try:
            request = fit(recorded.json, Request, ignore_unknown=self._ignores or not behaviour.strict_fields)
        except Misfit as misfit:
            raise refusal(misfit, 400) from None
        check_model(request.model, behaviour, f"The model `{request.model}` does not exist")
        if request.stream_options is not None and not request.stream:
            raise Refused(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", 400, "stream_options"
            )
        prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt or [""]
        return Asked(
            model=request.model,
            stream=bool(request.stream),
            turns=(Turn("user", str(prompts[0])),),
            choices=request.n or 1,
            extra={"include_usage": bool(request.stream_options and request.stream_options.include_usage)},
        )

    def answer(self, script: Script, asked: Asked) -> Body:
        choices = [
            {"index": index, "text": script.of(index).text, "logprobs": None, "finish_reason": script.finish or "stop"}
            for index in range(script.choices)
        ]
        return as_json({**head(script), "choices": choices, "usage": usage_of(script)})

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        def choice(index: int, text: str, finish: str | None = None) -> dict[str, Any]:
            return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

        found = [choice(index, piece) for index in range(script.choices) for piece in script.of(index).pieces]
        found += [choice(index, "", script.finish or "stop") for index in range(script.choices)]
        chunks = [{**head(script), "choices": [one]} for one in found]
        if asked.extra["include_usage"]:
            chunks.append({**head(script), "choices": [], "usage": usage_of(script)})
        return [sse(chunk) for chunk in chunks]

    def end(self, script: Script, asked: Asked) -> bytes:
        return b"data: [DONE]\n\n"

    def error_event(self, message: str) -> bytes:
        return sse({"error": {"message": message, "type": "server_error", "param": None, "code": None}})


def head(script: Script) -> dict[str, Any]:
    return {"id": "cmpl-fake", "object": "text_completion", "created": CREATED, "model": script.model}


def usage_of(script: Script) -> dict[str, int]:
    total = script.input_tokens + script.output_tokens
    return {"prompt_tokens": script.input_tokens, "completion_tokens": script.output_tokens, "total_tokens": total}
