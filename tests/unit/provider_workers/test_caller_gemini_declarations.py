"""What the google-genai package writes: camelCase everywhere, but for the schema of a function."""

import json

import pytest

from llmproxy.provider_workers.callers.gemini import Gemini

SCHEMA = {"type": "object", "properties": {"first_name": {"type": "string"}}}


@pytest.mark.parametrize("tools", ["functionDeclarations", "function_declarations"])
@pytest.mark.parametrize("schema", ["parametersJsonSchema", "parameters_json_schema"])
def test_a_function_is_declared_in_either_spelling(tools: str, schema: str) -> None:
    declared = {tools: [{"name": "greet", schema: SCHEMA}]}
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [declared]}
    chat = json.loads(Gemini().read(json.dumps(body).encode(), stream=False).canonical)
    assert chat["tools"][0]["function"]["parameters"] == SCHEMA
