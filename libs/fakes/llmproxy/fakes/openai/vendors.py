"""The vendors that speak OpenAI's format, each by how it deviates, and the server that they share."""

from collections.abc import Mapping
from typing import Any

from llmproxy.fakes.conversation import Recorded, Refused
from llmproxy.fakes.openai.chat import Chat
from llmproxy.fakes.openai.completions import Completions
from llmproxy.fakes.openai.plain import Embeddings, Images, Models, Moderations, Rerank, Speech, Transcriptions
from llmproxy.fakes.openai.responses import Responses
from llmproxy.fakes.openai.variant import CHAT_FIELDS, Variant
from llmproxy.fakes.shapes import words
from llmproxy.fakes.vendor import Operation, bearer

OPERATIONS: dict[str, tuple[str, str, Any]] = {
    "chat": ("POST", "/chat/completions", Chat),
    "completions": ("POST", "/completions", Completions),
    "responses": ("POST", "/responses", Responses),
    "embeddings": ("POST", "/embeddings", Embeddings),
    "moderations": ("POST", "/moderations", Moderations),
    "images": ("POST", "/images/generations", Images),
    "speech": ("POST", "/audio/speech", Speech),
    "transcriptions": ("POST", "/audio/transcriptions", Transcriptions),
    "rerank": ("POST", "/rerank", Rerank),
    "models": ("GET", "/models", Models),
}

CLASSIC = CHAT_FIELDS - {
    "audio", "metadata", "modalities", "moderation", "prediction", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "safety_identifier", "service_tier", "store", "verbosity", "web_search_options",
}  # fmt: skip
"""What most of OpenAI's imitators know of it."""

SAMPLING = frozenset({"top_k", "min_p", "repetition_penalty"})
MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
UNSUPPORTED = "property '{}' is unsupported"

VARIANTS: tuple[Variant, ...] = (
    Variant(
        name="openai",
        reasoning_models=r"^(o\d|gpt-5(?!.*chat))",
        schema_needs="strict",
    ),
    Variant(
        name="azure",
        base="/openai/v1",
        header="api-key",
        reasoning_models=r"^(o\d|gpt-5(?!.*chat))",
        schema_needs="strict",
        filters=True,
        error_form="azure",
        apis=words("chat completions responses embeddings images speech transcriptions models"),
    ),
    Variant(
        name="groq",
        base="/openai/v1",
        apis=words("chat responses transcriptions speech models"),
        fields=CLASSIC
        | {"reasoning_format", "include_reasoning", "service_tier", "metadata", "store", "search_settings"}
        | {"documents", "citation_options", "compound_custom", "exclude_domains", "include_domains"},
        unknown_says=UNSUPPORTED,
        refuses={name: f"`{name}` is not supported with this model" for name in ("logprobs", "logit_bias", "top_logprobs")},
        message_fields=MESSAGE - {"name"} | {"reasoning"},
        unknown_in_message="'messages.{index}' : for 'role:{role}' the following must be satisfied[('messages.{index}' : property '{name}' is unsupported)]",
        choices_max=1,
        reasoning="reasoning",
        x_groq=True,
        call_id="call_{:04d}",
    ),
    Variant(
        name="together",
        apis=words("chat completions embeddings rerank images speech transcriptions models"),
        ignores_unknown=True,
        tool_choices=frozenset({"auto", "required"}),
        model_pattern="/",  # OpenAI's names are not found.
        reasoning="reasoning",
        usage_unasked=True,
        usage_with_finish=True,
    ),
    Variant(
        name="mistral",
        apis=words("chat embeddings moderations transcriptions models"),
        fields=words("model messages temperature top_p max_tokens stream stop random_seed response_format tools tool_choice metadata "
            "presence_penalty frequency_penalty n prediction parallel_tool_calls prompt_mode safe_prompt prompt_cache_key "
            "reasoning_effort"),
        unknown_status=422,
        unknown_says="Extra inputs are not permitted: {}",
        message_fields=MESSAGE | {"prefix"},
        unknown_in_message="Extra inputs are not permitted: messages.{index}.{role}.{name}",
        roles=frozenset({"system", "user", "assistant", "tool"}),
        tool_choices=frozenset({"auto", "none", "any", "required"}),
        order="mistral",
        call_id="fake{:05d}",
        call_id_pattern=r"[a-zA-Z0-9]{9}",
        reasoning="parts",
        usage_unasked=True,
        usage_with_finish=True,
        whole_calls=True,
        error_form="mistral",
    ),
    Variant(
        name="deepseek",
        base="",
        bases=("/v1", "/beta"),
        apis=frozenset({"chat", "completions", "models"}),
        ignores_unknown=True,
        roles=frozenset({"system", "user", "assistant", "tool"}),
        images=False,
        json_schema=False,
        reasoning="reasoning_content",
        thinks_unasked=r"^(?!deepseek-chat)",
        echoes_thoughts=True,
        cache_fields="hit_miss",
        keep_alive=b": keep-alive\n\n",
        before_answer=b"\n\n",
    ),
    Variant(
        name="xai",
        apis=words("chat completions responses embeddings images models"),
        fields=CLASSIC | {"search_parameters", "deferred"},
        unknown_says="Argument not supported: {}",
        reasoning_models=r"^grok-(4|3-mini)",
        reasoning="reasoning_content",
        reasoning_outside=True,
        whole_calls=True,
        usage_unasked=True,
        error_form="flat",
    ),
    Variant(
        name="perplexity",
        base="",
        apis=frozenset({"chat"}),
        ignores_unknown=True,
        roles=frozenset({"system", "user", "assistant", "tool"}),
        tools=False,
        json_mode=False,
        alternates=True,
        citations=True,
        whole_messages=True,
        usage_unasked=True,
        usage_with_finish=True,
        newline="\r\n",
        done=False,
        error_form="perplexity",
    ),
    Variant(
        name="fireworks",
        base="/inference/v1",
        apis=words("chat completions embeddings rerank models"),
        fields=CLASSIC - {"seed"} | SAMPLING | {"prompt_truncate_len", "context_length_exceeded_behavior", "perf_metrics_in_response"},
        unknown_says="Extra inputs are not permitted, field: '{}'",
        reasoning="reasoning_content",
        usage_unasked=True,
        usage_with_finish=True,
    ),
    Variant(
        name="openrouter",
        base="/api/v1",
        apis=frozenset({"chat", "completions", "embeddings", "models"}),
        ignores_unknown=True,
        reasoning="reasoning",
        usage_unasked=True,
        keep_alive=b": OPENROUTER PROCESSING\n\n",
        error_form="numeric",
        error_in_choice=True,
    ),
    Variant(
        name="sambanova",
        apis=frozenset({"chat", "embeddings", "models"}),
        ignores_unknown=True,
        refuses={"logprobs": "logprobs is not supported", "logit_bias": "logit_bias is not supported"},
        choices_max=1,
        reasoning="reasoning",
        error_form="sambanova",
    ),
    Variant(
        name="vllm",
        key="",
        apis=words("chat completions responses embeddings rerank transcriptions models"),
        ignores_unknown=True,
        reasoning="reasoning_content",
        error_form="vllm",
    ),
)  # fmt: skip


class OpenAICompatible:
    """One vendor's server."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.name, self.key, self.base = variant.name, variant.key, variant.base
        self.overloaded, self.call_id = variant.overloaded, variant.call_id
        self.operations: dict[tuple[str, str], Operation] = {
            (method, prefix + path): operation
            for api, (method, path, made) in OPERATIONS.items()
            if api in variant.apis
            for operation in (made(variant),)
            for prefix in (variant.base, *variant.bases)
        }

    def operation(self, method: str, path: str) -> Operation | None:
        if self.name == "azure" and path.startswith("/openai/deployments/"):  # The classic paths.
            _, _, rest = path.removeprefix("/openai/deployments/").partition("/")
            path = f"{self.base}/{rest}"
        return self.operations.get((method, path))

    def accepts(self, recorded: Recorded, key: str) -> bool:
        return key in (bearer(recorded.headers), recorded.headers.get(self.variant.header))

    def error(self, refused: Refused) -> dict[str, Any]:
        return ERRORS[self.variant.error_form](refused)


KINDS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    413: ("invalid_request_error", None),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
}


def openai_error(refused: Refused) -> dict[str, Any]:
    kind, code = KINDS.get(refused.status, ("server_error", None))
    return {
        "error": {
            "message": refused.message,
            "type": kind,
            "param": refused.param or None,
            "code": refused.code or code,
        }
    }


def azure_error(refused: Refused) -> dict[str, Any]:
    """The gateway in front of the models has an error of its own form; the models have OpenAI's."""
    if refused.status in (401, 404, 429, 503):
        code = {404: "DeploymentNotFound"}.get(refused.status, str(refused.status))
        return {"error": {"code": code, "message": refused.message}}
    return openai_error(refused)


def flat_error(refused: Refused) -> dict[str, Any]:
    """xAI's: two texts."""
    codes = {
        400: "Client specified an invalid argument",
        401: "Unauthenticated",
        404: "Some requested entity was not found",
    }
    return {"code": codes.get(refused.status, "The service is currently unavailable"), "error": refused.message}


def vllm_error(refused: Refused) -> dict[str, Any]:
    """OpenAI's fields with a number for a code."""
    kinds = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError"}
    kind = kinds.get(refused.status, "InternalServerError")
    return {"error": {"message": refused.message, "type": kind, "param": refused.param or None, "code": refused.status}}


def mistral_error(refused: Refused) -> dict[str, Any]:
    if refused.status == 422:
        detail = [{"type": "extra_forbidden", "loc": ["body", refused.param], "msg": refused.message, "input": None}]
        return {
            "object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "param": None, "code": None,
        }  # fmt: skip
    if refused.status == 401:
        return {"detail": "Unauthorized"}
    kind = {429: "rate_limited", 404: "invalid_model"}.get(refused.status, "invalid_request_error")
    return {
        "object": "error", "message": refused.message, "type": kind, "param": refused.param or None,
        "code": refused.code or None, "raw_status_code": refused.status,
    }  # fmt: skip


def numeric_error(refused: Refused) -> dict[str, Any]:
    return {"error": {"message": refused.message, "code": refused.status}, "user_id": "user_fake"}


def perplexity_error(refused: Refused) -> dict[str, Any]:
    return {"error": {"message": refused.message, "type": refused.code or "invalid_request", "code": refused.status}}


def sambanova_error(refused: Refused) -> dict[str, Any]:
    kind = {401: "authentication_error", 429: "rate_limit_exceeded"}.get(refused.status, "invalid_request_error")
    return {"error": {"code": None, "message": refused.message, "param": refused.param or None, "type": kind}}


ERRORS = {
    "openai": openai_error,
    "azure": azure_error,
    "flat": flat_error,
    "vllm": vllm_error,
    "mistral": mistral_error,
    "numeric": numeric_error,
    "perplexity": perplexity_error,
    "sambanova": sambanova_error,
}

OPENAI_COMPATIBLE = tuple(OpenAICompatible(variant) for variant in VARIANTS)
