"""OpenAI's transcriptions: sound in, text out. https://platform.openai.com/docs/api-reference/audio/createTranscription"""

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.compatible_requests import read_fields
from llmproxy.provider_workers.natives.forms import form
from llmproxy.provider_workers.natives.passing import VENDOR, Passing, Reading, aim, answer
from llmproxy.provider_workers.sse import EVENT_BYTES_MAX, Event, EventStream, too_large
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.wire import ENCODER, Answer, HttpRequest, Origin, StreamTranslator, Target, failed

LAST_EVENT = "transcript.text.done"
CHARS_PER_TOKEN = 4
TEXT = "text/plain; charset=utf-8"
SUBTITLES = (b"WEBVTT", "text/vtt; charset=utf-8")


class Transcriptions(Passing):
    path = "audio/transcriptions"
    streams = True

    def request(self, body: bytes, target: Target) -> HttpRequest:
        kind, made = form(read_fields(aim(read_fields(body), target, body)))
        return HttpRequest(method="POST", url=self.url(self.path, target), headers=(("content-type", kind),), body=made)

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventsOrWhole(), Reading())

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


class EventsOrWhole:
    """Events; or, of models that do not stream and say so by answering whole, that answer as the last event.

    `stream` is ignored for whisper-1, says the reference.
    """

    __slots__ = ("_events", "_held", "_held_bytes", "_is_whole")

    def __init__(self) -> None:
        self._events = EventStream()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_whole: bool | None = None  # Until the first byte says.

    def feed(self, data: bytes) -> list[Event]:
        if self._is_whole is None and (start := data.lstrip()[:1]):
            self._is_whole = start == b"{"
        if not self._is_whole:
            return self._events.feed(data)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > EVENT_BYTES_MAX:
            raise too_large()
        return []

    def finish(self) -> list[Event]:
        if not self._is_whole:
            return self._events.finish()
        body = b"".join(self._held)
        try:
            fields = read_fields(body)
        except GatewayError:
            return [(b"", body)]  # Half an answer; who reads it says so.
        return [(b"", body if "error" in fields else ENCODER.encode({"type": LAST_EVENT, **fields}))]
