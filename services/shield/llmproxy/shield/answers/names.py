"""What is the model's words in an answer and what is not, by the name under which it stands."""

from llmproxy.common.segments.binaries import is_base64_url
from llmproxy.common.segments.names import URL_HOLDERS
from llmproxy.shield.answers.measures import is_plain

NAMES = frozenset(
    ["id", "object", "model", "type", "role", "status", "finish_reason", "stop_reason", "stop_sequence", "system_fingerprint", "service_tier", "created",
     "call_id", "item_id", "tool_call_id", "tool_use_id", "previous_response_id", "container_id", "file_id", "modelVersion", "responseId", "createTime",
     "finishReason", "mimeType", "mime_type", "media_type", "signature", "encrypted_content", "encrypted_index", "thoughtSignature", "thought_signature",
     "data", "b64_json", "partial_image_b64", "embedding", "logprobs", "logprobsResult", "top_logprobs", "token", "bytes", "usage", "usageMetadata",
     "safetyRatings", "instructions", "prompt_cache_key", "safety_identifier", "user", "obfuscation"]
)  # fmt: skip
"""What is not the model's words: ids, names, seals, binaries, tokens of a text that is read anyway, and echoes of the request."""

SPACED = frozenset({"instructions", "stop_sequence", "token"})
"""Of these, what may have spaces in it. In an id, a seal or a binary there is none, so what has one is a text."""

ECHOED = frozenset({"tools", "metadata"})
"""What is read but for what the request itself says, in whatever form the vendor repeats it."""

CALLED = frozenset({"input", "args", "action", "arguments"})
"""Arguments of a tool as a tree, in Anthropic's, Google's and OpenAI's answers, and in those of who copies them: every name and text in it is what a model has written."""

CALLS = frozenset({"name", "jsonPath", "json_path"})
"""What says whom or what a call is for, between texts that go on."""

DRAWING, DRAWN = "image_generation_call", "result"  # In an answer of the Responses API: a picture, as base64.

IN_JSON = frozenset({"arguments", "partial_json"})
"""Texts that are a JSON document."""


def is_no_text(key: str, value: str) -> bool:
    """By the name under which it stands; or a picture, which some vendors put into a message as an address of itself."""
    if key in NAMES:
        return value.find(" ", 0, -1) < 0 or key in SPACED
    return key in URL_HOLDERS and is_base64_url(value)


def is_piece(name: str) -> bool:
    """Whether a text that a vendor has added, beside one that comes in pieces, may have this name: it comes in pieces, too."""
    return name not in NAMES and is_plain(name)


def name_of(names: list[str]) -> str:
    """The key under which a text stands, of the steps of its path."""
    return next((name for name in reversed(names) if not name.endswith("]")), "")
