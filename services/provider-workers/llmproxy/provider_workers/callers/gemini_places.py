"""Where a generateContent request has what stands at a path of its canonical form, and how it spells the names on the way."""

import re
from collections.abc import Mapping

from llmproxy.provider_workers.callers.gemini_request import (
    CallIds,
    allow,
    contents_of,
    declarations,
    model_message,
    parts_at,
    parts_of,
    result_of,
    system_text,
    user_messages,
)
from llmproxy.provider_workers.callers.gemini_shapes import Body, Calling, Content, Generation, Part, ToolConfig
from llmproxy.provider_workers.reading import given
from llmproxy.provider_workers.written import ENTRY, FUNCTION, MESSAGE, TOOL, brackets, inside, joined, nth, renamed

CONFIG = "generationConfig"
FORMATS = (
    "response_format",
    *(f"response_format.json_schema{field}" for field in ("", ".schema", ".name", ".strict")),
)
NAMES: Mapping[str, str] = {
    "messages": "contents",
    "temperature": f"{CONFIG}.temperature",
    "top_p": f"{CONFIG}.topP",
    "top_k": f"{CONFIG}.topK",
    "max_completion_tokens": f"{CONFIG}.maxOutputTokens",
    "stop": f"{CONFIG}.stopSequences",
    "n": f"{CONFIG}.candidateCount",
    "seed": f"{CONFIG}.seed",
    "presence_penalty": f"{CONFIG}.presencePenalty",
    "frequency_penalty": f"{CONFIG}.frequencyPenalty",
    "logprobs": f"{CONFIG}.responseLogprobs",
    "top_logprobs": f"{CONFIG}.logprobs",
    **dict.fromkeys(FORMATS, f"{CONFIG}.responseSchema"),
    "response_format.type": f"{CONFIG}.responseMimeType",
    "reasoning_effort": f"{CONFIG}.thinkingConfig",
    "tool_choice": "toolConfig.functionCallingConfig",
    "tool_choice.type": "toolConfig.functionCallingConfig.mode",
    "tool_choice.function.name": "toolConfig.functionCallingConfig.allowedFunctionNames[0]",
}
CALL = {"function": "functionCall", "function.name": "functionCall.name", "function.arguments": "functionCall.args"}
CALL |= {"id": "functionCall.id", "extra_content.google.thought_signature": "thoughtSignature"}
RESULT = {"content": "functionResponse.response", "tool_call_id": "functionResponse.id"}

WORD = re.compile(r"[A-Za-z]+")
CAPITAL = re.compile(r"[A-Z]")


def place(body: Body, path: str) -> str:
    path = brackets(path)
    if (found := MESSAGE.fullmatch(path)) is not None:
        return _message(body, int(found[1]), found[2])
    if (found := TOOL.fullmatch(path)) is not None:
        return _declaration(body, int(found[1]), found[2])
    return renamed({**NAMES, **_format(body.generation_config or Generation())}, path)


def spelled(body: bytes, path: str) -> str:
    """The path with names as the body has them: protobuf's JSON takes `generation_config` for `generationConfig`."""

    def written(found: re.Match[str]) -> str:
        other = CAPITAL.sub(lambda letter: f"_{letter[0].lower()}", found[0])
        is_other = b'"%b"' % found[0].encode() not in body and b'"%b"' % other.encode() in body
        return other if is_other else found[0]

    return WORD.sub(written, path)


def _format(config: Generation) -> Mapping[str, str]:
    """Which of its three fields asks for a format."""
    schema = given(config.response_schema) or given(config.response_json_schema)
    name = "responseMimeType" if not schema else "responseSchema"
    if given(config.response_json_schema):
        name = "responseJsonSchema"
    return dict.fromkeys(FORMATS, f"{CONFIG}.{name}")


def _declaration(body: Body, number: int, rest: str) -> str:
    """Of those that are offered: a choice may leave some out."""
    declared = declarations(body.tools or [], [])
    kept = allow(declared, (body.tool_config or ToolConfig()).function_calling_config or Calling())
    places = [
        (f"tools[{index}].functionDeclarations[{one}]", written)
        for index, tool in enumerate(body.tools or [])
        for one, written in enumerate(tool.function_declarations or [])
    ]
    if number >= len(kept):
        return "tools"
    at, written = places[next(index for index, one in enumerate(declared) if one is kept[number])]
    schema = "parametersJsonSchema" if given(written.parameters_json_schema) else "parameters"
    return inside(at, {**FUNCTION, "function.parameters": schema}, rest)


def _message(body: Body, number: int, rest: str) -> str:
    if system_text(body.system_instruction):
        if number == 0:
            return "systemInstruction"
        number -= 1
    calls = CallIds()
    for index, content in enumerate(contents_of(body)):
        parts, at = parts_of(content), parts_at(body, index)
        make = model_message if content.role == "model" else user_messages
        made = make(parts, at, calls)
        if number < len(made):
            return _part(content, parts, at, number, rest)
        number -= len(made)
    return "contents"


def _part(content: Content, parts: list[Part], at: str, number: int, rest: str) -> str:
    """In the part that the `number`th message of this content, or what `rest` names of it, was made of."""
    places = [f"{at}[{index}]" if isinstance(content.parts, list) else at for index in range(len(parts))]
    if rest == "role":
        return at.removesuffix("parts") + "role"
    entry = ENTRY.fullmatch(rest)
    if content.role == "model":
        if entry is None:
            return at
        kinds = {
            "tool_calls": [places[i] for i, part in enumerate(parts) if part.function_call is not None],
            "thinking_blocks": [places[i] for i, part in enumerate(parts) if part.thought and part.thought_signature],
        }
        return inside(nth(kinds.get(entry[1], []), int(entry[2]), at), CALL, entry[3])
    results = [i for i, part in enumerate(parts) if part.function_response is not None]
    if number < len(results):
        return _result(parts[results[number]], places[results[number]], rest)
    spoken = [i for i, part in enumerate(parts) if part.function_response is None and part.text != ""]
    if entry is None or entry[1] != "content" or int(entry[2]) >= len(spoken):
        return places[spoken[0]] if len(spoken) == 1 else at
    index = spoken[int(entry[2])]
    return _media(parts[index], places[index], entry[3])


def _result(part: Part, at: str, rest: str) -> str:
    """What the function said comes first, then what it shows."""
    answer, entry = part.function_response, ENTRY.fullmatch(rest)
    if answer is None or entry is None or not answer.parts:
        return inside(at, RESULT, rest)
    here = f"{at}.functionResponse"
    shown = int(entry[2]) - bool(result_of(answer.response, at)[0])
    return (
        f"{here}.response" if shown < 0 else nth([f"{here}.parts[{i}]" for i in range(len(answer.parts))], shown, here)
    )


def _media(part: Part, at: str, rest: str) -> str:
    if part.inline_data is not None and rest:
        return joined(at, "inlineData.mimeType" if rest == "type" else "inlineData")
    if part.file_data is not None and rest:
        return joined(at, "fileData.mimeType" if rest == "type" else "fileData.fileUri")
    return joined(at, rest) if rest == "text" else at
