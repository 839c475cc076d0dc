"""What a request to Anthropic's Messages API holds, as far as it can be told in a chat. https://docs.anthropic.com/en/api/messages"""

import msgspec
from msgspec import Raw, Struct

from llmproxy.provider_workers.reading import ABSENT


class Source(Struct, frozen=True, kw_only=True):
    """Where an image or a document is; which field is set depends on `type`."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: str | list[Raw] = ""


class Block(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """A content block that can be told in a chat. Fields that are not here are dropped, and listed."""

    cache_control: Raw = ABSENT


class Text(Block, frozen=True, kw_only=True, tag="text"):
    text: str
    citations: Raw = ABSENT


class Image(Block, frozen=True, kw_only=True, tag="image"):
    source: Source


class Document(Block, frozen=True, kw_only=True, tag="document"):
    source: Source
    title: str | None = None
    context: str | None = None
    citations: Raw = ABSENT


class SearchResult(Block, frozen=True, kw_only=True, tag="search_result"):
    source: str
    title: str
    content: list[Raw]
    citations: Raw = ABSENT


class Thought(Block, frozen=True, kw_only=True, tag="thinking"):
    thinking: str
    signature: str = ""


class Redacted(Block, frozen=True, kw_only=True, tag="redacted_thinking"):
    data: str


class ToolUse(Block, frozen=True, kw_only=True, tag="tool_use"):
    id: str
    name: str
    input: Raw
    caller: Raw = ABSENT


class ToolResult(Block, frozen=True, kw_only=True, tag="tool_result"):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None


KINDS = (Text, Image, Document, SearchResult, Thought, Redacted, ToolUse, ToolResult)
Content = Text | Image | Document | SearchResult | Thought | Redacted | ToolUse | ToolResult


class Turn(Struct, frozen=True, kw_only=True):
    role: str
    content: str | list[Raw]


class Tool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: str | None = None
    name: str
    description: str | None = None
    input_schema: Raw = ABSENT
    strict: bool | None = None
    cache_control: Raw = ABSENT


class ToolChoice(Struct, frozen=True, kw_only=True):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True, kw_only=True):
    type: str
    budget_tokens: int = 0


class Format(Struct, frozen=True, kw_only=True):
    type: str
    schema: dict[str, Raw] | None = None


class OutputConfig(Struct, frozen=True, kw_only=True):
    effort: str | None = None
    format: Format | None = None


class Request(Struct, frozen=True, kw_only=True):
    model: str
    messages: list[Turn]
    max_tokens: int
    system: str | list[Raw] | None = None
    tools: list[Raw] | None = None
    tool_choice: ToolChoice | None = None
    stop_sequences: list[str] | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None  # Its earlier place.
    metadata: dict[str, Raw] | None = None


FIELDS = msgspec.json.Decoder(dict[str, Raw])
REQUEST = msgspec.json.Decoder(Request)
BLOCK = msgspec.json.Decoder(Content)
TEXT = msgspec.json.Decoder(str)
TOOL = msgspec.json.Decoder(Tool)

BLOCK_FIELDS = {kind.__struct_config__.tag: frozenset({*kind.__struct_encode_fields__, "type"}) for kind in KINDS}
TOOL_FIELDS = frozenset(Tool.__struct_encode_fields__)
