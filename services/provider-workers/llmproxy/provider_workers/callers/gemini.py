"""Gemini's generateContent and streamGenerateContent, over any chat. https://ai.google.dev/api/generate-content"""

from collections.abc import Mapping
from functools import partial

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.callers import gemini_answer
from llmproxy.provider_workers.callers.caller import Asked, Events
from llmproxy.provider_workers.callers.gemini_places import NAMES, place, spelled
from llmproxy.provider_workers.callers.gemini_request import read_body, translate
from llmproxy.provider_workers.callers.gemini_shapes import Generation, Thinking
from llmproxy.provider_workers.wire import ENCODER, Origin
from llmproxy.provider_workers.written import retold


class Gemini:
    api: Api = "gemini"
    names: Mapping[str, str] = NAMES

    def read(self, body: bytes, *, stream: bool) -> Asked:
        try:
            asked = read_body(body)
            chat, dropped = translate(asked, stream=stream)
        except GatewayError as error:
            raise retold(error, partial(spelled, body)) from error
        thinking = (asked.generation_config or Generation()).thinking_config or Thinking()
        return GeminiAsked(ENCODER.encode(chat), tuple(sorted(dropped)), thoughts=bool(thinking.include_thoughts))

    def place(self, body: bytes, path: str) -> str:
        return spelled(body, place(read_body(body), path))


class GeminiAsked:
    __slots__ = ("_thoughts", "canonical", "dropped")

    def __init__(self, canonical: bytes, dropped: tuple[str, ...], *, thoughts: bool) -> None:
        self.canonical, self.dropped, self._thoughts = canonical, dropped, thoughts

    def response(self, answer: bytes, origin: Origin) -> bytes:
        return gemini_answer.response(answer, origin, thoughts=self._thoughts)

    def events(self, origin: Origin) -> Events:
        return gemini_answer.Events(origin, thoughts=self._thoughts)
