"""The names that the APIs give things, and what each tells: who speaks there, what is no text, what others fill as they like."""

URL_HOLDERS = frozenset({"url", "image_url", "file_data"})
"""Keys whose value may be a base64 data: URL, where an API has pictures and files. Anywhere else such a string is text."""

URL_STRUCTURE = URL_HOLDERS | {"video_url", "audio_url", "file_url", "document_url"}
"""What leads to them, besides `STRUCTURE`."""

SEALS = frozenset({"signature", "encrypted_content", "encrypted_index", "thoughtSignature", "thought_signature"})
"""What a provider gives to be given back: it is the provider's own, and nobody else can read it."""

BLOB_KEYS = URL_HOLDERS | SEALS | {"data", "result"}

STRUCTURE = frozenset(
    ["messages", "contents", "content", "parts", "source", "inlineData", "inline_data", "input_audio", "file", "image",
     "mask", "functionResponse", "function_response", "output", "tool_calls", "thinking_blocks", "extra_content", "google",
     "citations"]
)  # fmt: skip
"""What leads to the places of blobs. Not among them: whatever callers fill as they like (tool arguments, schemas, metadata)."""

FILLED = frozenset({"input", "args", "response", "arguments", "action", "output", "documents", "variables"})
"""What callers and tools fill as they like: there the name of a value may say what it is, as it does in tool arguments that are a
string. The `input` of the body itself is no such thing."""

RETURNED = frozenset({"output", "outputs", "results", "error"})
"""In an item of the Responses API: what a hosted tool gave."""

RETURNED_PARTS = frozenset(
    {
        "functionResponse",
        "function_response",
        "codeExecutionResult",
        "code_execution_result",
        "toolResponse",
        "tool_response",
    }
)
"""In a part of Gemini's: what a tool gave."""

ROOT_ROLES = {
    **dict.fromkeys(("tools", "functions", "response_format", "text", "output_config"), "definition"),
    **dict.fromkeys(("generationConfig", "generation_config"), "definition"),
    **dict.fromkeys(("system", "instructions", "systemInstruction", "system_instruction"), "system"),
    **dict.fromkeys(("prompt", "suffix", "input", "query"), "user"),
    "documents": "tool",  # Of rerank: retrieved by somebody, written by anybody.
}
"""Whose text a field of the body itself holds."""

EMBEDDED = "prompt_embeds"
"""Where vLLM takes what a model makes of a text, as base64."""

TOKEN_HOLDERS = ("prompt", "input", "input_ids", "prompt_token_ids", EMBEDDED)
"""Where completions and embeddings, and servers of open models, take numbers in the place of text."""

DRAWN_NUMBERS = frozenset({("seed",), ("generationConfig", "seed"), ("generation_config", "seed")})
"""Numbers that callers draw at random, and providers want as numbers."""

KNOWN_KEYS = frozenset(
    [
     # Chat.
     "model", "messages", "role", "content", "name", "tool_calls", "tool_call_id", "function", "arguments",
     "type", "text", "image_url", "url", "detail", "tools", "parameters", "properties", "description",
     "required", "enum", "items", "strict", "additionalProperties", "response_format", "json_schema", "schema",
     "stream", "stream_options", "include_usage", "temperature", "top_p", "max_tokens", "max_completion_tokens",
     "presence_penalty", "frequency_penalty", "tool_choice", "parallel_tool_calls", "metadata", "refusal",
     "reasoning_effort", "reasoning_content",
     # Messages.
     "system", "thinking", "signature", "cache_control", "tool_use_id", "input", "is_error", "source",
     "media_type", "data", "input_schema", "budget_tokens", "stop_sequences", "top_k", "user_id", "citations",
     "context_management",
     # Responses.
     "instructions", "call_id", "output", "status", "annotations", "summary", "encrypted_content", "reasoning",
     "effort", "format", "include", "store", "previous_response_id", "max_output_tokens", "truncation",
     "prompt_cache_key", "file_id", "filename", "file_data",
     # Gemini.
     "contents", "parts", "systemInstruction", "generationConfig", "functionCall", "functionResponse",
     "functionDeclarations", "response", "inlineData", "mimeType", "thoughtSignature", "maxOutputTokens",
     "topP", "topK", "candidateCount", "stopSequences", "responseMimeType", "responseSchema", "thinkingConfig",
     "thinkingBudget", "includeThoughts", "safetySettings", "category", "threshold", "toolConfig",
     "functionCallingConfig",
     # The rest.
     "prompt", "query", "documents", "encoding_format", "dimensions", "voice", "language", "content_type",
     "quality", "background",
    ]
)  # fmt: skip
"""Names of the APIs themselves: they say nothing, and are most of the strings of a body."""

ANSWERED = frozenset({"choices", "message", "candidates", "reasoning", "citations", "function_call", "args"})
"""In answers, around their texts."""

NAMES = KNOWN_KEYS | STRUCTURE | BLOB_KEYS | RETURNED | RETURNED_PARTS | ANSWERED | frozenset(ROOT_ROLES)
