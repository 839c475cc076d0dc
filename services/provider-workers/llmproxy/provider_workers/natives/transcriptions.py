"""OpenAI's transcriptions: sound in, text out. https://platform.openai.com/docs/api-reference/audio/createTranscription"""

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.canonical import ENCODER, failed
from llmproxy.provider_workers.compatible_requests import read_fields
from llmproxy.provider_workers.natives.forms import form
from llmproxy.provider_workers.natives.passing import VENDOR, Passing, aim, answer
from llmproxy.provider_workers.wire import Answer, HttpRequest, Origin, Target

CHARS_PER_TOKEN = 4
TEXT = "text/plain; charset=utf-8"
SUBTITLES = (b"WEBVTT", "text/vtt; charset=utf-8")


class Transcriptions(Passing):
    path = "audio/transcriptions"
    streams = True

    def request(self, body: bytes, target: Target) -> HttpRequest:
        kind, made = form(read_fields(aim(read_fields(body), target, body)))
        return HttpRequest(method="POST", url=self.url(self.path, target), headers=(("content-type", kind),), body=made)

    def response(self, body: bytes, request: Origin) -> Answer:
        """JSON, or with `response_format` text, srt and vtt the text itself."""
        if body.lstrip()[:1] == b"{":
            return answer(body)
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent a transcription that is not text"))
        usage = Usage(output=-(-len(text) // CHARS_PER_TOKEN), estimated=True)
        start, subtitles = SUBTITLES
        return Answer(
            json=ENCODER.encode(body), content_type=subtitles if body.startswith(start) else TEXT, usage=usage
        )
