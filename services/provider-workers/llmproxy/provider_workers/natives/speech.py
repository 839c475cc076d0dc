"""OpenAI's speech: text in, sound out. https://platform.openai.com/docs/api-reference/audio/createSpeech"""

import msgspec

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.compatible_answers import error_inside
from llmproxy.provider_workers.compatible_requests import read_fields
from llmproxy.provider_workers.natives.passing import REPLY, VENDOR, Passing, aim
from llmproxy.provider_workers.reading import UNREADABLE
from llmproxy.provider_workers.wire import ENCODER, JSON_HEADERS, Answer, HttpRequest, Origin, Target, failed

KINDS = (
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"fLaC", "audio/flac"),
    (b"RIFF", "audio/wav"),
    (b"\x1aE\xdf\xa3", "audio/webm"),
)
"""How the formats begin. The answer's own header is not asked: it is the vendor's word, and a browser would act on it."""

UNKNOWN = "application/octet-stream"  # Such as pcm, which is nothing but samples.


class Speech(Passing):
    path = "audio/speech"
    streams = True

    def request(self, body: bytes, target: Target) -> HttpRequest:
        fields = read_fields(body)
        more = {"stream_format": msgspec.Raw(b'"sse"' if target.stream else b'"audio"')}
        wanted = more if target.stream or "stream_format" in fields else None
        # Not every server of this format knows `stream`; OpenAI's own does not.
        if "stream" not in fields:
            target = msgspec.structs.replace(target, stream=False)
        return HttpRequest(
            method="POST", url=self.url(self.path, target), headers=JSON_HEADERS, body=aim(fields, target, body, wanted)
        )

    def response(self, body: bytes, request: Origin) -> Answer:
        if not body:
            return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent no sound"))
        if body[:1] == b"{":
            try:
                error = REPLY.decode(body).error
            except UNREADABLE:
                error = None
            if error is not None:
                return failed(error_inside(error, VENDOR))
        return Answer(json=ENCODER.encode(body), content_type=kind_of(body))


def kind_of(sound: bytes) -> str:
    return next((kind for start, kind in KINDS if sound.startswith(start)), UNKNOWN)
