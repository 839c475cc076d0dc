"""What a request for a chat completion holds. https://platform.openai.com/docs/api-reference/chat/create"""

from typing import Any, Literal

from msgspec import Struct


class TextPart(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class RefusalPart(Struct, frozen=True, tag_field="type", tag="refusal"):
    refusal: str


class ThinkingPart(Struct, frozen=True, tag_field="type", tag="thinking"):
    """Mistral's."""

    thinking: list[TextPart]


class ImageUrl(Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Struct, frozen=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl


class InputAudio(Struct, frozen=True):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Struct, frozen=True, tag_field="type", tag="input_audio"):
    input_audio: InputAudio


class File(Struct, frozen=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Struct, frozen=True, tag_field="type", tag="file"):
    file: File


class Function(Struct, frozen=True):
    name: str
    arguments: str


class FunctionCall(Struct, frozen=True):
    id: str
    function: Function
    type: Literal["function"] = "function"


class System(Struct, frozen=True, tag_field="role", tag="system"):
    content: str | list[TextPart]


class Developer(Struct, frozen=True, tag_field="role", tag="developer"):
    content: str | list[TextPart]


class User(Struct, frozen=True, tag_field="role", tag="user"):
    content: str | list[TextPart | ImagePart | AudioPart | FilePart]


class Assistant(Struct, frozen=True, tag_field="role", tag="assistant"):
    content: str | list[TextPart | RefusalPart | ThinkingPart] | None = None
    refusal: str | None = None
    tool_calls: list[FunctionCall] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class ToolMessage(Struct, frozen=True, tag_field="role", tag="tool"):
    content: str | list[TextPart | ImagePart]
    tool_call_id: str


Message = System | Developer | User | Assistant | ToolMessage


class FunctionTool(Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OneTool(Struct, frozen=True):
    function: FunctionTool
    type: Literal["function"]


class Name(Struct, frozen=True):
    name: str


class NamedTool(Struct, frozen=True):
    function: Name
    type: Literal["function"]


class JsonSchema(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextForm(Struct, frozen=True, tag_field="type", tag="text"):
    pass


class JsonForm(Struct, frozen=True, tag_field="type", tag="json_object"):
    pass


class SchemaForm(Struct, frozen=True, tag_field="type", tag="json_schema"):
    json_schema: JsonSchema


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Request(Struct, frozen=True):
    """Only the types; which fields a vendor has is `Variant.fields`."""

    model: str
    messages: list[Message]
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    n: int | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: float | None = None
    reasoning_effort: str | None = None
    response_format: TextForm | JsonForm | SchemaForm | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    tool_choice: str | NamedTool | None = None
    tools: list[OneTool] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    thinking: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None


def text_in(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return " ".join(part.text for part in content if isinstance(part, TextPart))
