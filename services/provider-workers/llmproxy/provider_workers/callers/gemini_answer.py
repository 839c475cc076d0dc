"""A canonical answer as a GenerateContentResponse, whole and streamed. https://ai.google.dev/api/generate-content#generatecontentresponse"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.answer_pieces import Counts, Function, Logprob, Logprobs, Numbering, usage_of
from llmproxy.provider_workers.callers.gemini_request import REDACTED, SIGNED, sealed
from llmproxy.provider_workers.reading import UNREADABLE
from llmproxy.provider_workers.wire import ENCODER, Origin

FINISH_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "function_call": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
MALFORMED = "MALFORMED_FUNCTION_CALL"
EMPTY: list[Any] = [{"text": ""}]  # Google's last event has one; without any part an SDK's text is None.


class Signature(Struct, frozen=True):
    thought_signature: str = ""


class Extra(Struct, frozen=True):
    google: Signature = Signature()


class Call(Struct, frozen=True):
    index: int | None = None  # Only in deltas.
    id: str | None = None
    function: Function | None = None
    extra_content: Extra | None = None


class Thinking(Struct, frozen=True):
    type: str
    thinking: str = ""
    signature: str = ""
    data: str = ""


class Message(Struct, frozen=True):
    """Of an answer, or what is new of it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM's, OpenRouter's and Groq's name.
    thinking_blocks: list[Thinking] | None = None
    tool_calls: list[Call] | None = None
    extra_content: Extra | None = None


class Choice(Struct, frozen=True):
    index: int = 0
    message: Message | None = None
    delta: Message | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Answer(Struct, frozen=True):
    choices: list[Choice] | None = None
    model: str | None = None
    usage: Counts | None = None


class CallOut(Struct, frozen=True, kw_only=True):
    name: str
    args: Raw
    id: str | UnsetType = UNSET


class PartOut(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    text: str | UnsetType = UNSET
    thought: bool = False
    thought_signature: str = ""
    function_call: CallOut | UnsetType = UNSET


ANSWER = msgspec.json.Decoder(Answer)
OBJECT = msgspec.json.Decoder(dict[str, Raw])


def unreadable() -> GatewayError:
    return GatewayError("provider_bad_answer", "the provider sent an answer that cannot be read")


def decode(data: bytes) -> Answer:
    try:
        return ANSWER.decode(data)
    except UNREADABLE:
        raise unreadable() from None


def response(data: bytes, origin: Origin, *, thoughts: bool) -> bytes:
    answer = decode(data)
    choices = answer.choices or []
    found: dict[str, Any] = {"candidates": [candidate(choice, thoughts) for choice in choices]}
    if choices and all(is_blocked(choice) for choice in choices):
        found = {"promptFeedback": {"blockReason": "SAFETY"}}
    found["usageMetadata"] = usage_metadata(usage_of(answer.usage))
    return ENCODER.encode({**found, "modelVersion": answer.model or origin.model, "responseId": origin.id})


def is_blocked(choice: Choice) -> bool:
    """Nothing was said because of a filter: the prompt's, for all that is known."""
    said = choice.message or Message()
    return choice.finish_reason == "content_filter" and not (said.content or said.refusal or said.tool_calls)


def candidate(choice: Choice, thoughts: bool) -> dict[str, Any]:
    said = choice.message or Message()
    parts = thought_parts(said, thoughts)
    signature = signature_of(said.extra_content)
    if text := (said.content or "") + (said.refusal or ""):
        parts.append(PartOut(text=text, thought_signature=signature))
    elif signature:
        parts.append(PartOut(text="", thought_signature=signature))
    finish = finish_of(choice.finish_reason or "", is_refusal=bool(said.refusal))
    for call in said.tool_calls or []:
        function = call.function or Function()
        made = call_part(function.name or "", function.arguments or "", call.id, call.extra_content)
        if made is not None:
            parts.append(made)
        elif finish == "STOP":
            finish = MALFORMED
    found: dict[str, Any] = {"content": {"parts": parts or EMPTY, "role": "model"}, "finishReason": finish}
    if choice.logprobs is not None and choice.logprobs.content:
        found.update(logprobs(choice.logprobs.content))
    return {**found, "index": choice.index}


def thought_parts(said: Message, thoughts: bool) -> list[PartOut]:
    """Signed thoughts always, because they must come back; others when the caller asked for thoughts."""
    if said.thinking_blocks:
        return [part for part in (signed(block, block.thinking) for block in said.thinking_blocks) if part]
    text = (said.reasoning_content or said.reasoning) if thoughts else ""
    return [PartOut(text=text, thought=True)] if text else []


def signed(block: Thinking, text: str) -> PartOut | None:
    if block.type == "redacted_thinking":
        return PartOut(text="", thought=True, thought_signature=sealed(REDACTED, block.data))
    if block.signature:
        return PartOut(text=text, thought=True, thought_signature=sealed(SIGNED, block.signature))
    return PartOut(text=text, thought=True) if text else None


def signature_of(extra: Extra | None) -> str:
    return extra.google.thought_signature if extra else ""


def call_part(name: str, arguments: str, id: str | None, extra: Extra | None) -> PartOut | None:
    """None when the arguments are no JSON object, which is all that Google has a place for."""
    raw = arguments.encode() if arguments.strip() else b"{}"
    try:
        OBJECT.decode(raw)
    except UNREADABLE:
        return None
    call = CallOut(name=name, args=Raw(msgspec.json.format(raw, indent=-1)), id=id or UNSET)
    return PartOut(function_call=call, thought_signature=signature_of(extra))


def finish_of(reason: str, *, is_refusal: bool) -> str:
    return "SAFETY" if is_refusal and reason == "stop" else FINISH_REASONS.get(reason, "OTHER")


def logprobs(found: list[Logprob]) -> dict[str, Any]:
    chosen = [{"token": one.token, "logProbability": one.logprob} for one in found]
    top = [
        {"candidates": [{"token": other.token, "logProbability": other.logprob} for other in one.top_logprobs or []]}
        for one in found
    ]
    result: dict[str, Any] = {"chosenCandidates": chosen}
    if any(one.top_logprobs for one in found):
        result["topCandidates"] = top
    return {"avgLogprobs": sum(one.logprob for one in found) / len(found), "logprobsResult": result}


def usage_metadata(usage: Usage) -> dict[str, Any]:
    """Google's way of counting: thoughts are outside the candidates', cached content is inside the prompt's."""
    thoughts = min(usage.reasoning, usage.output)
    said = usage.output - thoughts
    found: dict[str, Any] = {"promptTokenCount": usage.input, "candidatesTokenCount": said}
    if thoughts:
        found["thoughtsTokenCount"] = thoughts
    found["totalTokenCount"] = usage.input + usage.output
    if usage.cache_read:
        found["cachedContentTokenCount"] = usage.cache_read
    if usage.audio_input:
        found["promptTokensDetails"] = modalities(usage.input, usage.audio_input)
    if usage.audio_output:
        found["candidatesTokensDetails"] = modalities(said, usage.audio_output)
    return found


def modalities(total: int, audio: int) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": max(total - audio, 0)}, {"modality": "AUDIO", "tokenCount": audio}]


# -- streams


class Fragments:
    """A tool call while it comes in; Google's are whole."""

    __slots__ = ("arguments", "extra", "id", "name")

    def __init__(self) -> None:
        self.name, self.id = "", ""
        self.arguments: list[str] = []
        self.extra: Extra | None = None


class Candidate:
    """What is held back of one choice until it is whole."""

    __slots__ = ("calls", "finish", "is_malformed", "is_refusal", "numbering", "said", "shown", "tokens")

    def __init__(self) -> None:
        self.calls: dict[int, Fragments] = {}
        self.numbering = Numbering()
        self.finish = ""
        self.is_malformed = False
        self.is_refusal = False
        self.said = False  # Anything that a caller saw.
        self.shown = False  # Thoughts that went out before their signature.
        self.tokens: list[Logprob] = []


class Events:
    """Whole objects with the parts that are new; the last one has the finish reasons and the usage."""

    __slots__ = ("_after", "_before", "_candidates", "_origin", "_thoughts", "_version")

    def __init__(self, origin: Origin, *, thoughts: bool) -> None:
        self._origin, self._thoughts = origin, thoughts
        self._candidates: dict[int, Candidate] = {}
        self._version = ""
        self._before = self._after = b""

    def chunk(self, chunk: bytes) -> list[bytes]:
        answer = decode(chunk)
        if not self._version:
            self._named(answer.model or self._origin.model)
        out: list[bytes] = []
        for choice in answer.choices or []:
            self._take(choice, out)
        return out

    def end(self, usage: Usage) -> list[bytes]:
        out: list[bytes] = []
        for index, one in self._candidates.items():
            self._flush(index, one, out)
        found: dict[str, Any] = {"candidates": [self._last(*one) for one in sorted(self._candidates.items())]}
        held = self._candidates.values()
        if held and all(one.finish == "content_filter" and not one.said for one in held):
            found = {"promptFeedback": {"blockReason": "SAFETY"}}
        return [*out, self._object({**found, "usageMetadata": usage_metadata(usage)})]

    def _named(self, version: str) -> None:
        self._version = version
        # Nearly all events differ in their text alone.
        sample = self._object({"candidates": [{"content": {"parts": [{"text": "\0"}], "role": "model"}, "index": 0}]})
        self._before, _, self._after = sample.partition(b'"\\u0000"')

    def _take(self, choice: Choice, out: list[bytes]) -> None:
        held = self._candidates.get(choice.index)
        if held is None:
            held = self._candidates[choice.index] = Candidate()
        new = choice.delta or Message()
        if choice.logprobs is not None:
            held.tokens += choice.logprobs.content or []
        if new.thinking_blocks or new.reasoning_content or new.reasoning:
            self._think(new, choice.index, held, out)
        text = (new.content or "") + (new.refusal or "")
        held.is_refusal = held.is_refusal or bool(new.refusal)
        signature = signature_of(new.extra_content)
        if text or signature:
            held.said = True
            if choice.index == 0 and not signature:
                out.append(self._before + ENCODER.encode(text) + self._after)
            else:
                out.append(self._parts([PartOut(text=text, thought_signature=signature)], choice.index))
        for call in new.tool_calls or []:
            _gather(call, held)
        if choice.finish_reason is not None:
            held.finish = choice.finish_reason
            self._flush(choice.index, held, out)

    def _think(self, new: Message, index: int, held: Candidate, out: list[bytes]) -> None:
        if (text := new.reasoning_content or new.reasoning) and self._thoughts:
            held.shown = True
            out.append(self._parts([PartOut(text=text, thought=True)], index))
        for block in new.thinking_blocks or []:
            part = signed(block, "" if held.shown else block.thinking)
            held.shown = False
            if part is not None:
                out.append(self._parts([part], index))

    def _flush(self, index: int, held: Candidate, out: list[bytes]) -> None:
        """The calls, which are whole only now: fragments of parallel ones may be interleaved."""
        for one in held.calls.values():
            part = call_part(one.name, "".join(one.arguments), one.id, one.extra)
            held.said = held.said or part is not None
            if part is not None:
                out.append(self._parts([part], index))
            else:
                held.is_malformed = True
        held.calls.clear()

    def _last(self, index: int, held: Candidate) -> dict[str, Any]:
        finish = finish_of(held.finish, is_refusal=held.is_refusal)
        if held.is_malformed and finish == "STOP":
            finish = MALFORMED
        found: dict[str, Any] = {"content": {"parts": EMPTY, "role": "model"}, "finishReason": finish}
        return {**found, **(logprobs(held.tokens) if held.tokens else {}), "index": index}

    def _parts(self, parts: list[PartOut], index: int) -> bytes:
        return self._object({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": index}]})

    def _object(self, found: dict[str, Any]) -> bytes:
        return ENCODER.encode({**found, "modelVersion": self._version, "responseId": self._origin.id})


def _gather(call: Call, held: Candidate) -> None:
    function = call.function or Function()
    fragments = held.calls.setdefault(held.numbering.of(call.index, call.id, function.name), Fragments())
    fragments.name += function.name or ""
    fragments.id = fragments.id or call.id or ""
    fragments.extra = fragments.extra or call.extra_content
    if function.arguments:
        fragments.arguments.append(function.arguments)
