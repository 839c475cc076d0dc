"""What is the same of Claude wherever it is hosted: at Anthropic, on Bedrock, on Vertex AI. Pure."""

import re
from typing import Any

from llmproxy.provider_workers.canonical import Chat
from llmproxy.provider_workers.reading import given, invalid, unsupported

MAX_TOKENS = 4096  # The API requires max_tokens; OpenAI's does not.

# Tokens to think with, where a model wants a number; at least 1,024 and less than max_tokens.
BUDGET_MIN = 1024
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
# Models before 4.6 think by budget; later ones decide themselves (`adaptive`), guided by an effort, and refuse a budget.
BY_BUDGET = re.compile(r"claude-(?:2|3|instant|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:$|[-@]\d{8}|-latest))")

TOP_P_MIN = 0.95  # Beside thinking.

# There is no JSON mode without a schema; this is the technique that the vendor's guide recommends.
JSON_ONLY = "Answer with one valid JSON object and nothing else: no explanation before or after it, no code fence."


def reasoning(chat: Chat, model: str, vendor: str, dropped: list[str], *, is_forced: bool) -> dict[str, Any]:
    """`reasoning_effort` in the model's own terms, and the room that thinking needs within max_tokens.

    A forced tool call, or an answer to be gone on with (`is_forced`), and thinking exclude each other; what is forced is
    what was asked for.
    """
    if given(chat.thinking):
        return {"thinking": chat.thinking}
    effort = chat.reasoning_effort
    if effort is None:
        return {}
    by_budget = BY_BUDGET.match(model) is not None
    if effort == "none":
        return {} if by_budget else {"thinking": {"type": "disabled"}}
    if effort not in BUDGETS:
        raise invalid("reasoning_effort", f"must be one of none, {', '.join(BUDGETS)}")
    budget, most = BUDGETS[effort], chat.output_tokens_max
    if by_budget:
        budget = min(budget, most // 2) if most is not None else budget
        if is_forced or budget < BUDGET_MIN:
            dropped.append("reasoning_effort")
            return {}
        check_sampling(chat, vendor)
        return {
            "max_tokens": most or MAX_TOKENS + budget,
            "thinking": {"type": "enabled", "budget_tokens": budget},
        }
    found: dict[str, Any] = {"max_tokens": most or MAX_TOKENS + budget}
    if not is_forced:
        check_sampling(chat, vendor)
        # Recent models leave the text of thinking out unless asked for it.
        found["thinking"] = {"type": "adaptive", "display": "summarized"}
    found["output_config"] = {"effort": EFFORTS[effort]}
    return found


def check_sampling(chat: Chat, vendor: str) -> None:
    """A model that thinks samples as it likes. https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"""
    why = f"{vendor} takes it only without reasoning_effort"
    if chat.temperature not in (None, 1):
        raise unsupported(vendor, "temperature", why)
    if chat.top_k is not None:
        raise unsupported(vendor, "top_k", why)
    if chat.top_p is not None and chat.top_p < TOP_P_MIN:
        raise unsupported(vendor, "top_p", f"{vendor} takes it from {TOP_P_MIN} beside reasoning_effort")
