"""Gemini's generateContent, read back."""

from typing import Any

from inverses.meaning import Meaning, Teller


def google(body: dict[str, Any]) -> Meaning:
    teller = Teller()
    for part in (body.get("systemInstruction") or {}).get("parts", ()):
        teller.instruct(part["text"])
    for content in body["contents"]:
        for part in content["parts"]:
            _part(teller, {"user": "user", "model": "assistant"}[content["role"]], part)
    config = body.get("generationConfig") or {}
    calling = ((body.get("toolConfig") or {}).get("functionCallingConfig")) or {}
    mode = calling.get("mode", "AUTO")
    is_json = config.get("responseMimeType") == "application/json"
    schema = config.get("responseJsonSchema")
    options = {
        "max_tokens": config.get("maxOutputTokens"),
        "temperature": config.get("temperature"),
        "top_p": config.get("topP"),
        "top_k": config.get("topK"),
        "n": config.get("candidateCount"),
        "seed": config.get("seed"),
        "presence_penalty": config.get("presencePenalty"),
        "frequency_penalty": config.get("frequencyPenalty"),
        "stop": config.get("stopSequences"),
        "choice": {"ANY": (calling.get("allowedFunctionNames") or ["required"])[0], "NONE": "none"}.get(mode),
        "json": True if is_json and schema is None else None,
        "schema": schema,
        "effort": (config.get("thinkingConfig") or {}).get("thinkingLevel"),
    }
    declared = [one for tool in body.get("tools") or [] for one in tool["functionDeclarations"]]
    is_strict = None if mode in ("ANY", "NONE") else mode == "VALIDATED"
    tools = [
        (tool["name"], tool.get("description", ""), tool.get("parametersJsonSchema"), is_strict) for tool in declared
    ]
    return teller.told(tools, options)


def _part(teller: Teller, side: str, part: dict[str, Any]) -> None:
    match part:
        case {"text": str(text)}:
            teller.text(side, text)
        case {"inlineData": {"mimeType": kind, "data": data}}:
            teller.say(side, ("image", kind, data))
        case {"fileData": {"fileUri": address}}:
            teller.say(side, ("image", "", address))
        case {"functionCall": call}:
            teller.call(call["name"], call["args"], call.get("id", ""))
        case {"functionResponse": {"name": name, "response": response} as given}:
            id = given.get("id", "")
            if response.keys() == {"error"}:
                teller.result(response["error"], id, name, is_error=True)
            else:
                teller.result(response["result"] if response.keys() == {"result"} else response, id, name)
        case _:
            raise AssertionError(part)
