"""What a vendor refuses in a request for a chat completion, in its own words."""

import json
import re
from collections.abc import Mapping
from typing import Any

from llmproxy.fakes.conversation import Behaviour, Refused
from llmproxy.fakes.openai.chat_request import (
    Assistant,
    FunctionCall,
    ImagePart,
    JsonForm,
    Message,
    NamedTool,
    Request,
    SchemaForm,
    ToolMessage,
    User,
    text_in,
)
from llmproxy.fakes.openai.variant import Variant
from llmproxy.fakes.shapes import Misfit

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TOOLS_MAX = 128
STOPS_MAX = 4
RANGES = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max", "default"})
SAYS_NOTHING: dict[str, Any] = {
    "n": 1, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {},
    "temperature": 1, "top_p": 1, "tools": [], "parallel_tool_calls": True,
}  # fmt: skip


def check_fields(body: Mapping[str, Any], variant: Variant, behaviour: Behaviour) -> None:
    for name, says in variant.refuses.items():
        value = body.get(name)
        if value is not None and value != SAYS_NOTHING.get(name):
            raise Refused(says, variant.unknown_status, name, "unsupported_parameter")
    unknown = sorted(body.keys() - variant.fields)
    if unknown and behaviour.strict_fields and not variant.ignores_unknown:
        raise Refused(variant.unknown_says.format(unknown[0]), variant.unknown_status, unknown[0], "unknown_parameter")
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        strange = sorted(message.keys() - variant.message_fields) if isinstance(message, dict) else []
        if variant.message_fields and strange:
            says = variant.unknown_in_message.format(index=index, name=strange[0], role=message.get("role"))
            raise Refused(says, variant.unknown_status, f"messages[{index}].{strange[0]}", "unknown_parameter")


def refusal(misfit: Misfit, status: int) -> Refused:
    if misfit.missing:
        return Refused(
            f"Missing required parameter: '{misfit.param}'.", status, misfit.param, "missing_required_parameter"
        )
    if misfit.unknown:
        return Refused(f"Unknown parameter: '{misfit.param}'.", status, misfit.param, "unknown_parameter")
    if misfit.what.startswith("Invalid"):
        return Refused(f"Invalid value for '{misfit.param}': {misfit.what}.", status, misfit.param, "invalid_value")
    return Refused(f"Invalid type for '{misfit.param}': {misfit.what}.", status, misfit.param, "invalid_type")


def check(request: Request, body: Mapping[str, Any], variant: Variant) -> None:
    def refuse(param: str, says: str, code: str = "invalid_value") -> Refused:
        return Refused(says, variant.unknown_status, param, code)

    if not request.messages:
        raise refuse(
            "messages", "Invalid 'messages': empty array. Expected an array with minimum length 1.", "empty_array"
        )
    for name, (least, most) in RANGES.items():
        value = getattr(request, name)
        if value is not None and not least <= value <= most:
            raise refuse(name, f"Invalid '{name}': must be between {least} and {most}.", "decimal_out_of_range")
    for name in ("max_tokens", "max_completion_tokens"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise refuse(name, f"Invalid '{name}': integer below minimum value.", "integer_below_min_value")
    if request.max_tokens is not None and request.max_completion_tokens is not None and variant.name == "openai":
        raise refuse(
            "max_tokens", "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        )
    if variant.reasoning_models and re.search(variant.reasoning_models, request.model):
        check_reasoning_model(request, body, variant)
    if not 1 <= (request.n or 1) <= variant.choices_max:
        raise refuse("n", f"'n' : number must be at most {variant.choices_max}")
    if isinstance(request.stop, list) and len(request.stop) > STOPS_MAX:
        raise refuse("stop", f"Invalid 'stop': array too long. Expected at most {STOPS_MAX}.", "array_above_max_length")
    if request.stream_options is not None and not request.stream:
        raise refuse("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    if request.top_logprobs and not request.logprobs:
        raise refuse("top_logprobs", "'top_logprobs' needs 'logprobs' to be true.")
    if request.reasoning_effort is not None and request.reasoning_effort not in EFFORTS:
        raise refuse("reasoning_effort", f"Invalid value: '{request.reasoning_effort}'.")
    check_tools(request, variant)
    check_form(request, variant)


def check_reasoning_model(request: Request, body: Mapping[str, Any], variant: Variant) -> None:
    if request.max_tokens is not None and variant.name in ("openai", "azure"):
        says = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        raise Refused(says, 400, "max_tokens", "unsupported_parameter")
    banned = ("stop", "presence_penalty", "frequency_penalty") if variant.name == "xai" else ("temperature", "top_p")
    for name in banned:
        value = body.get(name)
        if value is not None and value != SAYS_NOTHING.get(name):
            says = f"Unsupported value: '{name}' does not support {value!r} with this model."
            raise Refused(says, 400, name, "unsupported_value")


def check_tools(request: Request, variant: Variant) -> None:
    status, choice = variant.unknown_status, request.tool_choice
    if request.tools and not variant.tools:
        raise Refused("Tool calling is not supported for this model.", status, "tools", "unsupported_parameter")
    if request.tools is not None and not request.tools and variant.name == "openai":
        raise Refused(
            "Invalid 'tools': empty array. Expected an array with minimum length 1.", 400, "tools", "empty_array"
        )
    if len(request.tools or []) > TOOLS_MAX:
        raise Refused(f"Invalid 'tools': array too long. Expected at most {TOOLS_MAX}.", status, "tools")
    names = [tool.function.name for tool in request.tools or []]
    for index, name in enumerate(names):
        if not TOOL_NAME.fullmatch(name):
            param = f"tools[{index}].function.name"
            raise Refused(
                f"Invalid '{param}': string does not match pattern '^[a-zA-Z0-9_-]+$'.", status, param, "invalid_value"
            )
    if choice is None:
        return
    if not names:
        raise Refused("'tool_choice' is only allowed when 'tools' are specified.", status, "tool_choice")
    if isinstance(choice, str) and choice not in variant.tool_choices:
        says = f"Invalid value: '{choice}'. Supported values are: {', '.join(sorted(variant.tool_choices))}."
        raise Refused(says, status, "tool_choice", "invalid_value")
    if isinstance(choice, NamedTool) and (choice.function.name not in names or not variant.named_choice):
        raise Refused(f"Tool choice '{choice.function.name}' not found in 'tools' parameter.", status, "tool_choice")


def check_form(request: Request, variant: Variant) -> None:
    form, status = request.response_format, variant.unknown_status
    if isinstance(form, JsonForm):
        if not variant.json_mode:
            raise Refused("response_format of type json_object is not supported.", status, "response_format")
        said = json.dumps(
            [text_in(message.content) for message in request.messages if not isinstance(message, ToolMessage)]
        )
        if variant.name in ("openai", "azure") and "json" not in said.lower():
            says = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            raise Refused(says, 400, "messages")
    if isinstance(form, SchemaForm):
        if not variant.json_schema:
            raise Refused("This response_format type is unavailable now", status, "response_format")
        if form.json_schema.schema is None:
            raise Refused(
                "Missing required parameter: 'response_format.json_schema.schema'.", status, "response_format"
            )
        if form.json_schema.strict and variant.schema_needs == "strict":
            check_strict(form.json_schema.schema, f"response_format '{form.json_schema.name}'")
    for index, tool in enumerate(request.tools or []):
        if tool.function.strict and variant.schema_needs == "strict":
            check_strict(
                tool.function.parameters or {},
                f"function '{tool.function.name}'",
                f"tools[{index}].function.parameters",
            )


def check_strict(schema: Mapping[str, Any], of: str, param: str = "response_format") -> None:
    """Strict mode: every object closed, every property required."""
    if schema.get("type") == "object":
        context = "In context=()"
        if schema.get("additionalProperties") is not False:
            says = f"Invalid schema for {of}: {context}, 'additionalProperties' is required to be supplied and to be false."
            raise Refused(says, 400, param, "invalid_function_parameters")
        if set(schema.get("properties") or {}) != set(schema.get("required") or []):
            says = f"Invalid schema for {of}: {context}, 'required' is required to be supplied and to be an array including every key in properties."
            raise Refused(says, 400, param, "invalid_function_parameters")
        for one in (schema.get("properties") or {}).values():
            check_strict(one, of, param)
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        check_strict(schema["items"], of, param)


def check_messages(request: Request, variant: Variant) -> None:
    status = variant.unknown_status
    for index, message in enumerate(request.messages):
        role = type(message).__struct_config__.tag
        if role not in variant.roles:
            param = f"messages[{index}].role"
            raise Refused(
                f"Invalid value: '{role}'. Supported values are: {', '.join(sorted(variant.roles))}.",
                status,
                param,
                "invalid_value",
            )
        parts = [] if isinstance(message.content, str | None) else message.content
        if not variant.images and any(isinstance(part, ImagePart) for part in parts):
            raise Refused("This model does not support image input.", status, f"messages[{index}].content")
        if (
            isinstance(message, Assistant)
            and message.content is None
            and not message.tool_calls
            and not message.refusal
        ):
            says = f"Invalid value for 'content': expected a string, got null. - messages[{index}]"
            raise Refused(says, status, f"messages.[{index}].content")
        for call in (message.tool_calls or []) if isinstance(message, Assistant) else []:
            check_call(call, index, variant)
    check_order(request.messages, variant)
    if variant.echoes_thoughts and thinks(request, variant):
        check_echo(request.messages)


def check_call(call: FunctionCall, index: int, variant: Variant) -> None:
    if variant.call_id_pattern and not re.fullmatch(variant.call_id_pattern, call.id):
        says = f"Tool call id was {call.id} but must be a-z, A-Z, 0-9, with a length of 9."
        raise Refused(says, 400, f"messages[{index}].tool_calls", "3280")
    try:
        json.loads(call.function.arguments or "{}")
    except ValueError:
        if variant.name in ("vllm", "groq", "mistral"):  # OpenAI itself takes any text.
            raise Refused(
                "tool call arguments are not valid JSON", variant.unknown_status, f"messages[{index}].tool_calls"
            ) from None


def check_order(messages: list[Message], variant: Variant) -> None:
    """Every tool call is answered right after the message that made it, each once."""
    waiting: set[str] = set()
    before = ""
    for index, message in enumerate(messages):
        role, at = str(type(message).__struct_config__.tag), f"messages.[{index}].role"
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                raise out_of_order(
                    variant,
                    at,
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
                )
            waiting.discard(message.tool_call_id)
        elif waiting:
            raise out_of_order(
                variant, at,
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
                f"The following tool_call_ids did not have response messages: {', '.join(sorted(waiting))}",
            )  # fmt: skip
        elif isinstance(message, Assistant):
            ids = [call.id for call in message.tool_calls or []]
            if len(set(ids)) != len(ids):
                raise out_of_order(variant, at, f"Duplicate tool_call_id in messages[{index}].tool_calls")
            waiting = set(ids)
        if variant.order == "mistral" and before == "tool" and role not in ("tool", "assistant"):
            raise out_of_order(variant, at, f"Unexpected role '{role}' after role 'tool'")
        if variant.alternates and role == before and role in ("user", "assistant"):
            says = "After the (optional) system message(s), user or tool message(s) should alternate with assistant message(s)."
            raise Refused(says, 400, at, "invalid_message")
        before = role
    if waiting:
        raise out_of_order(
            variant, f"messages.[{len(messages) - 1}].role",
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(sorted(waiting))}",
        )  # fmt: skip
    if variant.order == "mistral" and before == "assistant":
        raise out_of_order(
            variant,
            "messages",
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
        )
    if variant.alternates and before not in ("user", "tool"):
        raise Refused("Last message must have role `user` or `tool`.", 400, "messages", "invalid_message")


def out_of_order(variant: Variant, param: str, says: str) -> Refused:
    return Refused(says, 400, param, "3230" if variant.order == "mistral" else "")


def check_echo(messages: list[Message]) -> None:
    """Within the present turn of the user, a tool call comes back with the thoughts that led to it."""
    last_user = max((index for index, one in enumerate(messages) if isinstance(one, User)), default=0)
    for index, message in enumerate(messages[last_user:], last_user):
        if isinstance(message, Assistant) and message.tool_calls and message.reasoning_content is None:
            says = "The `reasoning_content` in the thinking mode must be passed back to the API."
            raise Refused(says, 400, f"messages[{index}].reasoning_content", "invalid_request_error")


def thinks(request: Request, variant: Variant) -> bool:
    if (request.thinking or {}).get("type") == "disabled" or request.reasoning_effort == "none":
        return False
    asked = request.reasoning_effort is not None or request.thinking is not None or request.reasoning is not None
    return asked or (variant.thinks_unasked != "" and re.search(variant.thinks_unasked, request.model) is not None)
