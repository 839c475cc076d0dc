"""What can be done with something that a guard has found. Beside the policy, because its areas name actions too."""

from typing import Annotated, Literal

from msgspec import Meta

Action = Literal["mask", "redact", "hash", "block", "flag", "alert", "allow"]
"""mask: placeholder out, original back in the answer; redact: gone for good; hash: gone, but the same
value of a tenant leaves the same mark; block: refuse the request; flag: let it pass and record it;
alert: the same, and operators see it at once (`event.guard.alerted`); allow: do not look for it."""

REMOVING = frozenset({"mask", "redact", "hash"})
"""Actions that take the text out."""

PASSING = frozenset({"flag", "alert"})
"""Actions that leave it where it is."""

Probability = Annotated[float, Meta(ge=0, le=1)]
