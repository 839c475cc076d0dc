"""Gemini's generateContent and streamGenerateContent, over any chat. https://ai.google.dev/api/generate-content"""

from llmproxy.common.envelope import Api
from llmproxy.provider_workers.callers import gemini_answer
from llmproxy.provider_workers.callers.caller import Asked, Events
from llmproxy.provider_workers.callers.gemini_request import Generation, Thinking, read_body, translate
from llmproxy.provider_workers.canonical import ENCODER
from llmproxy.provider_workers.wire import Origin


class Gemini:
    api: Api = "gemini"

    def read(self, body: bytes, *, stream: bool) -> Asked:
        asked = read_body(body)
        chat, dropped = translate(asked, stream=stream)
        thinking = (asked.generation_config or Generation()).thinking_config or Thinking()
        return GeminiAsked(ENCODER.encode(chat), tuple(sorted(dropped)), thoughts=bool(thinking.include_thoughts))


class GeminiAsked:
    __slots__ = ("_thoughts", "canonical", "dropped")

    def __init__(self, canonical: bytes, dropped: tuple[str, ...], *, thoughts: bool) -> None:
        self.canonical, self.dropped, self._thoughts = canonical, dropped, thoughts

    def response(self, answer: bytes, origin: Origin) -> bytes:
        return gemini_answer.response(answer, origin, thoughts=self._thoughts)

    def events(self, origin: Origin) -> Events:
        return gemini_answer.Events(origin, thoughts=self._thoughts)
