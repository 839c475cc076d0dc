"""A second opinion on what the injection guard is not sure about: which model is asked, about what, as operators configure it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from llmproxy.common.actions import Probability

JUDGE = "judge"


class Judge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Asked through the gateway itself, with the key in LLM_PROXY_JUDGE_KEY (docs/adr/0026). It can convict and not acquit."""

    model: str = ""  # As any caller would write it; "" asks nobody.
    low: Probability = 0.3  # From this probability on,
    high: Probability = 1.0  # and below this one, as far as the text is below the threshold of its role.
    confidence: Probability = 0.5  # Of the judge, from which on it counts.
    timeout_ms: Annotated[int, Meta(ge=1, le=60_000)] = 2_000  # For all texts of one request.
    on_failure: Literal["block", "allow-by-score"] = "allow-by-score"
    """When it says nothing in time, or nothing that is the JSON that it was asked for. By score, it passes: it is below the threshold."""

    def problem(self) -> tuple[str, str] | None:
        """What is wrong beyond types, and the fix."""
        if self.model and self.low >= self.high:
            return "high", f"must be above low, which is {self.low:g}; between the two the judge is asked"
        return None
