"""What the guards cost, without anything around them: the CPU of all default guards on clean prompts of two sizes."""

import gc
import random
from collections.abc import Iterator
from typing import Any

from msgspec import Raw, structs

from llmproxy.common.policy import Policy
from llmproxy.shield.scan import Plan, Scanner, Text

SIZES = {"1 KB": 1_024, "16 KB": 16_384}
WITH_INJECTION = ", injection guard on"
SEED = 11
GOAL_US = {"1 KB": 150.0, "16 KB": 1_500.0}
"""Of the median."""

SENTENCES = (
    "Please summarise the minutes of yesterday's meeting in five bullet points.",
    "The second paragraph should explain why the deployment took longer than planned.",
    "Our team compared three libraries and kept the one with the smallest footprint.",
    "Write a short story about a lighthouse keeper who learns to bake bread.",
    "What is the difference between a process and a thread, and when does it matter?",
    "def area(radius): return 3.14159 * radius ** 2  # used by the renderer",
    "Translate the following sentence into Spanish and keep the polite form.",
    "The table lists twelve regions, their populations in 2019 and the change since.",
    "I would like a vegetarian menu for four people that takes less than an hour.",
    "Version 2.4.1 fixes the layout of the settings page on small screens.",
    "How would you test a function that depends on the current time of day?",
    'Return JSON with the fields "title", "summary" and "tags", nothing else.',
    "The committee postponed its decision; the chair promised a draft by Friday.",
    "Explain it as if I had never written a line of code, but do not talk down to me.",
    "SELECT name, total FROM orders WHERE total > 100 ORDER BY total DESC;",
    "Rain is expected in the north, with gusts along the coast until the evening.",
)


def measure(texts: int) -> dict[str, Any]:
    """Size -> microseconds, median and 99th percentile, over texts that are all different, under the shipped policy; and, where
    that leaves the injection guard off, with it."""
    shipped = Policy()
    found = {size: _spent(shipped, length, texts) for size, length in SIZES.items()}
    if shipped.injection.mode == "disabled":
        looking = structs.replace(shipped, injection=structs.replace(shipped.injection, mode="flag"))
        found |= {f"{size}{WITH_INJECTION}": _spent(looking, length, texts) for size, length in SIZES.items()}
    return found


def _spent(policy: Policy, length: int, texts: int) -> dict[str, float]:
    scanner = Scanner(Plan(policy=policy))
    items = [Text(Raw(b"0"), text) for text in prompts(length, texts)]
    gc.collect()
    gc.disable()  # A pause here would be charged to one text, whoever left what is collected.
    try:
        for item in items[:20]:
            scanner.guards_us(item)
        spent = sorted(scanner.guards_us(item) for item in items)
    finally:
        gc.enable()
    return {"p50_us": spent[len(spent) // 2], "p99_us": spent[int(len(spent) * 0.99)], "texts": len(spent)}


def prompts(length: int, count: int) -> Iterator[str]:
    """Clean texts of so many characters: nothing of what any guard looks for."""
    chance = random.Random(SEED)
    for _ in range(count):
        parts: list[str] = []
        size = 0
        while size < length:
            parts.append(chance.choice(SENTENCES))
            size += len(parts[-1]) + 1
        yield " ".join(parts)[:length]
