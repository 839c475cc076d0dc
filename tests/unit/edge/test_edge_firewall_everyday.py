"""What everyday bodies cost: their own words, `role`, `system` and `model` among them, must have hardly an expression tried."""

import json
from typing import Any

import pytest

from llmproxy.common import signatures
from llmproxy.common.signatures import Budget, Matcher
from llmproxy.edge.firewall import Examination, unescaped

OF_ONE_MAX, OF_ALL_MAX = 6, 26
WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}},
        "required": ["location"],
    },
}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def chat(model: str, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": list(messages), **more}


EVERYDAY: dict[str, dict[str, Any]] = {
    "greeting": chat("gpt-4o-mini", said("user", "Hello, how are you?")),
    "summary": chat(
        "gpt-4o",
        said("system", "You are a helpful assistant."),
        said(
            "user",
            "Summarize the following email for me in three bullet points: Hi team, the quarterly review meeting has moved to Thursday at"
            " 3pm. Please bring your updated figures and the list of open questions. Lunch will be provided. Best, Dana",
        ),
        temperature=0.2,
        stream=True,
    ),
    "tools": chat(
        "gpt-4o",
        said("developer", "Use the tools when you need them. Answer briefly."),
        said("user", "What's the weather like in Paris today?"),
        said(
            "assistant",
            None,
            tool_calls=[
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": json.dumps({"location": "Paris, France"})},
                }
            ],
        ),
        said("tool", json.dumps({"temperature": 21, "condition": "partly cloudy"}), tool_call_id="call_1"),
        tools=[{"type": "function", "function": WEATHER}],
        tool_choice="auto",
    ),
    "messages": chat(
        "claude-sonnet-4-5",
        said("user", [{"type": "text", "text": "Write a function that returns the n-th Fibonacci number."}]),
        said(
            "assistant", [{"type": "text", "text": "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)"}]
        ),
        said("user", "Now make it recursive with memoization, and explain its complexity."),
        system="You are a concise coding assistant for a Python team.",
        max_tokens=1024,
    ),
    "code": chat(
        "gpt-4o",
        said("system", "You are an expert software engineer. Respond with code only."),
        said(
            "user",
            "Fix this bug:\n```python\nfor key, value in data.items():\n    if key == 'mode' and value not in ('dev', 'prod'):\n"
            "        raise ValueError('unknown mode')\n```\nIt raises an error when the file is missing.",
        ),
    ),
    "embeddings": {
        "model": "text-embedding-3-small",
        "input": ["The quick brown fox jumps over the lazy dog", "Invoices are due within thirty days of receipt."],
    },
    "responses": {
        "model": "gpt-4.1",
        "instructions": "You answer customer questions about orders. Be polite and do not discuss other customers.",
        "input": [said("user", [{"type": "input_text", "text": "Where is my order 12345? It was due on Monday."}])],
        "store": False,
    },
    "documents": chat(
        "gpt-4o",
        said(
            "system",
            "Answer the question using only the context below. If the answer is not in the context, say that you do not know.\n\nContext:\n"
            "The warranty covers manufacturing defects for two years from the date of purchase. Batteries and accessories are covered for"
            " six months. To make a claim, contact the support team with your receipt and a photo of the product. Shipping costs for"
            " returns are paid by the customer unless the defect was reported within the first thirty days.",
        ),
        said("user", "How long is the battery covered?"),
    ),
}


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return signatures.matcher()


def trials_of(matcher: Matcher, body: dict[str, Any]) -> int:
    budget = Budget(10**6, 10**6, 10**9)
    matcher.scan(unescaped(json.dumps(body).encode()), budget)
    return 10**6 - budget.trials


@pytest.mark.parametrize("name", EVERYDAY)
def test_an_everyday_body_passes_with_few_expressions_tried(name: str, matcher: Matcher) -> None:
    examination = Examination(matcher)
    assert not list(examination.turns(json.dumps(EVERYDAY[name]).encode()))
    assert not examination.hits
    assert trials_of(matcher, EVERYDAY[name]) <= OF_ONE_MAX


def test_everyday_bodies_together_have_hardly_any_tried(matcher: Matcher) -> None:
    assert sum(trials_of(matcher, body) for body in EVERYDAY.values()) <= OF_ALL_MAX
