"""How a vendor that speaks OpenAI's format deviates from OpenAI: data, one value per vendor, in `vendors.py`."""

from typing import Literal

from msgspec import Struct

from llmproxy.fakes.conversation import KEY
from llmproxy.fakes.shapes import words

ErrorForm = Literal["openai", "azure", "flat", "vllm", "mistral", "numeric", "perplexity", "sambanova"]

CHAT_FIELDS = words(
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages "
    "metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key "
    "prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier "
    "stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity "
    "web_search_options"
)


class Variant(Struct, frozen=True, kw_only=True):
    """The defaults are OpenAI itself."""

    name: str
    base: str = "/v1"
    bases: tuple[str, ...] = ()  # Where else the same paths are served.
    key: str = KEY
    header: str = "authorization"
    apis: frozenset[str] = words(
        "chat completions responses embeddings moderations images speech transcriptions models"
    )
    # Requests.
    fields: frozenset[str] = CHAT_FIELDS  # Of a chat request.
    ignores_unknown: bool = False  # Fields that it does not know are passed over.
    unknown_status: int = 400
    unknown_says: str = "Unknown parameter: '{}'."
    refuses: dict[str, str] = {}  # Field -> what it says when the field has a value that says something.
    message_fields: frozenset[str] = frozenset()  # Of any message; empty: it does not look.
    unknown_in_message: str = "Unknown parameter: 'messages[{index}].{name}'."
    roles: frozenset[str] = frozenset({"system", "developer", "user", "assistant", "tool"})
    tools: bool = True
    tool_choices: frozenset[str] = frozenset({"auto", "none", "required"})
    named_choice: bool = True  # tool_choice may name a function.
    images: bool = True
    json_mode: bool = True
    json_schema: bool = True
    choices_max: int = 128
    alternates: bool = False  # user and assistant take turns.
    order: Literal["openai", "mistral"] = "openai"
    call_id: str = "call_fake{:06d}"
    call_id_pattern: str = ""  # Ids that do not match are refused.
    model_pattern: str = ""  # Names that do not match are not found.
    reasoning_models: str = ""  # Those refuse max_tokens and sampling.
    schema_needs: Literal["strict", "any"] = "any"  # What a schema marked strict must keep to.
    # Answers.
    reasoning: Literal["", "reasoning_content", "reasoning", "parts"] = ""  # Where it shows what it thought.
    thinks_unasked: str = ""  # The models that do.
    echoes_thoughts: bool = False  # A tool call must come back with the thoughts that led to it.
    reasoning_outside: bool = False  # Reasoning tokens are not inside completion_tokens.
    cache_fields: Literal["details", "hit_miss"] = "details"
    usage_unasked: bool = False  # A stream's last chunk has usage whether it was asked for or not.
    usage_with_finish: bool = False  # That chunk is the one with the finish reason.
    x_groq: bool = False
    whole_calls: bool = False  # A streamed tool call comes in one piece.
    whole_messages: bool = False  # Chunks carry the message so far besides the delta.
    filters: bool = False  # Azure's content filter results.
    citations: bool = False
    newline: str = "\n"
    keep_alive: bytes = b""
    before_answer: bytes = b""  # Sent to keep a connection open while a whole answer is made.
    done: bool = True  # The stream ends with [DONE].
    error_form: ErrorForm = "openai"
    error_in_choice: bool = False  # An error in mid-stream comes with a choice that finished with `error`.
    overloaded: int = 503
