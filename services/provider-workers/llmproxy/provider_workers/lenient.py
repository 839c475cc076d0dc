"""For an operator who would rather lose a parameter than the request: what a provider cannot express is left out, and listed.

Only parameters can be lost, never what the request is about; and only as a whole, so that nothing half meant is sent.
"""

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.reading import UNREADABLE
from llmproxy.provider_workers.wire import Answer, HttpRequest, Origin, StreamTranslator, Target, Wire, named

LEFT_OUT_MAX = 16  # Each is found by asking again.
SUBSTANCE = frozenset(
    {
        *("contents", "documents", "file", "image", "input", "instructions", "messages", "model", "prompt", "query"),
        *("stream", "system", "systemInstruction", "system_instruction"),
    }
)
"""What a request is about."""
GROUPS = frozenset({"generationConfig", "generation_config", "reasoning", "text"})
"""Objects whose fields are parameters each: there one of them is left out, not all."""

FIELDS = msgspec.json.Decoder(dict[str, Raw])


class Lenient:
    """A `Wire` like the one it is given."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def request(self, body: bytes, target: Target) -> HttpRequest:
        left_out: list[str] = []
        while True:
            try:
                made = self._wire.request(body, target)
            except GatewayError as error:
                rest = without(body, error.param) if error.code == "unsupported_parameter" else None
                if rest is None or len(left_out) == LEFT_OUT_MAX:
                    raise
                left_out.append(error.param)
                body = rest
                continue
            return replace(made, dropped=(*left_out, *made.dropped)) if left_out else made

    def named(self, error: GatewayError) -> GatewayError:
        return named(self._wire, error)

    def response(self, body: bytes, request: Origin) -> Answer:
        return self._wire.response(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return self._wire.events(request)


def without(body: bytes, param: str) -> bytes | None:
    """The body without a parameter, which may be named by its path; None when it has none that may be left out."""
    name, _, rest = param.partition(".")
    if not name or "[" in name or name in SUBSTANCE:
        return None
    try:
        fields = FIELDS.decode(body)
        if name not in fields:
            return None
        if name in GROUPS and rest:
            inner = without(bytes(fields[name]), rest)
            return None if inner is None else msgspec.json.encode({**fields, name: Raw(inner)})
    except UNREADABLE:
        return None
    return msgspec.json.encode({field: value for field, value in fields.items() if field != name})
