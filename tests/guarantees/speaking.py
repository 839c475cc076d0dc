"""The fakes' sound and pictures: transcriptions and revised prompts that say what a test wants said, and speech that is streamed.
And a vendor of Anthropic's API that takes texts in base64.

The rest is the strict fakes'.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import structs

from llmproxy.fakes.anthropic import CountTokens, Messages
from llmproxy.fakes.conversation import Asked, Behaviour, Recorded, Script
from llmproxy.fakes.families import FAMILIES
from llmproxy.fakes.openai.plain import Images, Speech, Transcriptions, form_of
from llmproxy.fakes.vendor import Body, Operation, Vendor, as_json, sse


class Said(Transcriptions):
    stream_type = "text/event-stream"

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        asked = super().ask(recorded, behaviour)
        stream = form_of(recorded).get("stream", (b"", ""))[0] == b"true"
        return Asked(asked.model, stream=stream, inputs=asked.inputs, extra=asked.extra)

    def answer(self, script: Script, asked: Asked) -> Body:
        return as_json({"text": script.text, "usage": {"type": "duration", "seconds": 1}})

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        pieces = [{"type": "transcript.text.delta", "delta": piece} for piece in script.pieces]
        done: dict[str, Any] = {"type": "transcript.text.done", "text": script.text}
        return [sse(one) for one in (*pieces, done)]


class Sung(Speech):
    stream_type = "text/event-stream"

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        asked = super().ask(recorded, behaviour)
        stream = recorded.json.get("stream_format") == "sse"
        return Asked(asked.model, stream=stream, inputs=asked.inputs, extra=asked.extra)

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        sound = b64encode(self.answer(script, asked).data).decode()
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        return [sse({"type": "speech.audio.delta", "audio": sound}), sse({"type": "speech.audio.done", "usage": usage})]


class Painted(Images):
    """Its revised prompt is what a test wants said, and else the prompt."""

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        asked = super().ask(recorded, behaviour)
        return replace(asked, extra={**asked.extra, "is_told": behaviour.mind is not None})

    def answer(self, script: Script, asked: Asked) -> Body:
        if not asked.extra["is_told"]:
            return super().answer(script, asked)
        reply = json.loads(super().answer(script, asked).data)
        for index, picture in enumerate(reply["data"]):
            picture["revised_prompt"] = script.of(index).text
        return as_json(reply)


class Filed(Messages):
    """It takes a text in base64, as others do who speak this API: Anthropic's own takes it plain."""

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        return super().ask(filed(recorded), behaviour)


class FiledCount(CountTokens):
    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        return super().ask(filed(recorded), behaviour)


def filed(recorded: Recorded) -> Recorded:
    kind = b'"type": "base64", "media_type": "%s"'
    return replace(recorded, body=recorded.body.replace(kind % b"text/plain", kind % b"application/pdf"))


OWN: dict[str, Callable[[Any], Any]] = {
    "/chat/completions": lambda like: type(like)(structs.replace(like.variant, reasoning="reasoning_content")),
    "/audio/transcriptions": lambda like: Said(like.variant),
    "/audio/speech": lambda like: Sung(like.variant),
    "/images/generations": lambda like: Painted(like.variant),
    "/v1/messages": lambda _: Filed(),
    "/v1/messages/count_tokens": lambda _: FiledCount(),
}
"""The end of a path -> what stands in the place of the vendor's operation."""


class Speaking:
    """A vendor, with these in the place of its own."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vendor, name)

    def operation(self, method: str, path: str) -> Operation | None:
        found = self._vendor.operation(method, path)
        for end, make in OWN.items():
            if found is not None and path.endswith(end):
                made: Operation = make(found)
                return made
        return found


def vendor(name: str) -> Vendor:
    made: Any = Speaking(FAMILIES[name])
    return made
