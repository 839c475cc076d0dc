"""What a generateContent request holds. https://ai.google.dev/api/generate-content

Fields that are not here are none of Google's, and refused by name, as Google does.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from llmproxy.provider_workers.reading import ABSENT


class Camel(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class Blob(Camel, frozen=True):
    mime_type: str
    data: str
    display_name: str | None = None


class FileData(Camel, frozen=True):
    file_uri: str
    mime_type: str | None = None
    display_name: str | None = None


class FunctionCall(Camel, frozen=True):
    name: str
    args: Raw = ABSENT
    id: str | None = None


class ResponsePart(Camel, frozen=True):
    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(Camel, frozen=True):
    name: str
    response: Raw = ABSENT
    id: str | None = None
    parts: list[ResponsePart] | None = None
    scheduling: str | None = None
    will_continue: bool | None = None


class Part(Camel, frozen=True):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    media_resolution: Raw = ABSENT
    part_metadata: Raw = ABSENT
    video_metadata: Raw = ABSENT
    executable_code: Raw = ABSENT
    code_execution_result: Raw = ABSENT
    tool_call: Raw = ABSENT
    tool_response: Raw = ABSENT


class Content(Camel, frozen=True):
    parts: list[Part] | Part | None = None
    role: str | None = None


class Declaration(Camel, frozen=True):
    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    parameters_json_schema: Raw = ABSENT
    response: Raw = ABSENT
    response_json_schema: Raw = ABSENT
    behavior: str | None = None


class Tool(Camel, frozen=True):
    function_declarations: list[Declaration] | None = None
    code_execution: Raw = ABSENT
    computer_use: Raw = ABSENT
    enterprise_web_search: Raw = ABSENT
    file_search: Raw = ABSENT
    google_maps: Raw = ABSENT
    google_search: Raw = ABSENT
    google_search_retrieval: Raw = ABSENT
    mcp_servers: Raw = ABSENT
    retrieval: Raw = ABSENT
    url_context: Raw = ABSENT


GOOGLES = tuple(name for name in Tool.__struct_fields__ if name != "function_declarations")
"""What Google runs itself."""


class Calling(Camel, frozen=True):
    mode: str | None = None
    allowed_function_names: list[str] | None = None
    stream_function_call_arguments: bool | None = None


class ToolConfig(Camel, frozen=True):
    function_calling_config: Calling | None = None
    retrieval_config: Raw = ABSENT
    include_server_side_tool_invocations: bool | None = None


class Thinking(Camel, frozen=True):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class Generation(Camel, frozen=True):
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | float | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    candidate_count: int | None = None
    seed: int | None = None
    presence_penalty: int | float | None = None
    frequency_penalty: int | float | None = None
    response_mime_type: str | None = None
    response_schema: Raw = ABSENT
    response_json_schema: Raw = ABSENT
    response_logprobs: bool | None = None
    logprobs: int | None = None
    thinking_config: Thinking | None = None
    response_modalities: list[str] | None = None
    media_resolution: str | None = None


class Body(Camel, frozen=True):
    contents: list[Content] | Content
    system_instruction: Content | str | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: Generation | None = None
    safety_settings: Raw = ABSENT
    cached_content: str | None = None
    labels: Raw = ABSENT
    store: bool | None = None
    service_tier: str | None = None
    model: str | None = None


BODY = msgspec.json.Decoder(Body)
ANY = msgspec.json.Decoder(Any)
OBJECT = msgspec.json.Decoder(dict[str, Raw])
TEXT = msgspec.json.Decoder(str)
