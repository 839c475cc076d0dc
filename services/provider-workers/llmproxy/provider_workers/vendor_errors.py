"""What a provider's error answer means: one table from status and words to the catalogue, shared by all adapters."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from llmproxy.common.errors import GatewayError
from llmproxy.common.retry import parse_retry_after_ms
from llmproxy.provider_workers.reading import printable

RETRY_AFTER_MAX_MS = 3_600_000  # A vendor that asks for more has a quota, not a busy minute.

# Vendors say this in words only; the phrases are those of OpenAI, Anthropic, Google, vLLM, Ollama, Together, Mistral.
CONTEXT = re.compile(
    r"context[ _](?:length|window|size|limit)|maximum (?:context|prompt length)|max(?:imum)?[ _]?(?:model[ _])?(?:len|sequence length)"
    r"|prompt is too long|input token count.{0,40}exceeds|input is too long|too many tokens|reduce the length",
    re.IGNORECASE,
)
QUOTA = re.compile(
    r"insufficient[_ ](?:quota|balance|credits|funds)|exceeded your current quota|credit balance|billing"
    r"|spend(?:ing)?[ _](?:cap|limit)|requests? per day|perday|hard limit",
    re.IGNORECASE,
)
KEY = re.compile(  # Google's and xAI's are 400.
    r"api[_ ]key[_ ](?:is |not )?(?:in)?valid|api[_ ]key[_ ]expired|incorrect api[_ ]key", re.IGNORECASE
)
MODEL = re.compile(r"\b(?:invalid_model|model_not_found)\b")  # Codes of Mistral and Perplexity, whose status is 400.
MODERATION = re.compile(r"moderat|flagged|safety|policy|guidelines", re.IGNORECASE)


def vendor_error(
    vendor: str,
    status: int,
    headers: Mapping[str, str],
    *,
    message: str = "",
    code: str = "",
    param: str = "",
    retry_after_ms: int = 0,
) -> GatewayError:
    """The catalogue's error for a vendor's answer of `status`.

    The vendor's own words are passed on only where they are about the caller's request. What it says about our account
    (keys, quota, limits, outages) is said in our words, because its own name the organisation and quote the key.
    """
    words, answered = f"{code} {message}", status
    after = min(retry_after_ms or retry_after(headers), RETRY_AFTER_MAX_MS)

    def error(name: str, says: str, *, after: int = 0) -> GatewayError:
        return GatewayError(name, f"{vendor} {says}", retry_after_ms=after)

    def rejected(name: str, *, status: int = 0) -> GatewayError:
        said = printable(message)
        shown = f"{vendor}: {said}" if said else f"{vendor} answered with status {answered} and no word about it"
        return GatewayError(name, shown, status=status, param=printable(param, 100))

    match status:
        case 401:
            return error("provider_unauthorized", "does not accept the gateway's credential")
        case 402:
            return error("provider_quota_exceeded", "says that the account's quota or credit is used up")
        case 429 if QUOTA.search(words):
            return error("provider_quota_exceeded", "says that the account's quota or credit is used up", after=after)
        case 429:
            return error("provider_rate_limited", "limits the rate of requests", after=after)
        case 408 | 504:
            return error("provider_timeout", "did not answer in time", after=after)
        case 503 | 529:
            return error("provider_overloaded", "is overloaded", after=after)
        case _ if 400 <= status < 500 and CONTEXT.search(words):
            return rejected("context_length_exceeded")
        case 400 | 403 if "credit balance" in message.lower() or "billing" in code.lower():
            return error("provider_quota_exceeded", "says that the account's quota or credit is used up")
        case 400 if KEY.search(words):
            return error("provider_unauthorized", "does not accept the gateway's credential")
        case 400 if MODEL.search(code):
            return rejected("model_not_found", status=404)
        case 412 if QUOTA.search(words):  # Fireworks.
            return error("provider_quota_exceeded", "says that the account's quota or credit is used up")
        case 403 if not MODERATION.search(words):
            return error("provider_unauthorized", "does not let the gateway's credential do this")
        case 404:
            return rejected("model_not_found" if "model" in words.lower() else "provider_rejected", status=404)
        case 413:
            return rejected("request_too_large")
        case 409 | 425:
            return error("provider_error", "could not take the request now", after=after)
        case _ if 400 <= status < 500:
            return rejected("provider_rejected", status=status)
        case _ if status >= 500:
            return error("provider_error", f"answered with status {status}", after=after)
    return error("provider_bad_answer", f"answered with the unexpected status {status}")


def retry_after(headers: Mapping[str, str]) -> int:
    """Milliseconds from `retry-after-ms` or `retry-after`; a date there is measured from the answer's own `date`."""
    exact = headers.get("retry-after-ms", "")
    if exact.isascii() and exact.isdigit() and len(exact) <= len(str(RETRY_AFTER_MAX_MS)):
        return int(exact)
    value = headers.get("retry-after", "")
    try:
        now_s = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        return parse_retry_after_ms(value, 0) if value[:1].isdigit() else 0
    return parse_retry_after_ms(value, now_s)
