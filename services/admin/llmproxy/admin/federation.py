"""The metrics of every instance in one answer, each line labelled with whose it is."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable

import aiohttp

from llmproxy.common.records import Announcement

FETCH_TIMEOUT_S = 2.0
FETCH_BYTES_MAX = 4 << 20
FETCHES_MAX = 32
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^\n]*\})? (\S+(?: \S+)?)")

Fetch = Callable[[str], Awaitable[str]]


async def federate(instances: Iterable[Announcement], fetch: Fetch) -> str:
    """Asks all at once; who does not answer in time is missing and counted."""
    limit = asyncio.Semaphore(FETCHES_MAX)

    async def one(instance: Announcement) -> str | None:
        async with limit:
            try:
                return await fetch(f"{instance.probes_url}/metrics")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                return None

    asked = [instance for instance in instances if instance.probes_url.startswith("http://")]
    answers = await asyncio.gather(*map(one, asked))
    families = Families()
    for instance, text in zip(asked, answers, strict=True):
        labels = _labels(service=instance.service, instance=instance.instance)
        families.meta("llmproxy_up", "TYPE", "gauge")
        families.add("llmproxy_up", f"llmproxy_up{{{labels}}} {0 if text is None else 1}")
        if text is not None:
            families.merge(text, labels)
    return families.text()


async def fetch_text(session: aiohttp.ClientSession, url: str) -> str:
    """Bounded in time and size. Raises ClientError, TimeoutError, ValueError."""
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
    async with session.get(url, timeout=timeout, allow_redirects=False) as answer:
        answer.raise_for_status()
        content = bytearray()
        async for chunk in answer.content.iter_any():
            content += chunk
            if len(content) > FETCH_BYTES_MAX:
                raise ValueError("too many metrics")
        return content.decode()


class Families:
    """Metric families in the text format, which wants all lines of a family together."""

    def __init__(self) -> None:
        self._meta: dict[str, dict[str, str]] = {}
        self._samples: dict[str, list[str]] = {}

    def meta(self, family: str, kind: str, text: str) -> None:
        """The first instance's HELP and TYPE stand for all."""
        self._meta.setdefault(family, {}).setdefault(kind, text)
        self._samples.setdefault(family, [])

    def add(self, family: str, sample: str) -> None:
        self._samples.setdefault(family, []).append(sample)

    def merge(self, text: str, labels: str) -> None:
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                _, kind, family, rest = [*line.split(" ", 3), "", "", ""][:4]
                if kind in ("HELP", "TYPE"):
                    self.meta(family, kind, rest)
                continue
            sample = SAMPLE.fullmatch(line)
            if sample is None:
                continue
            name, own, value = sample.groups()
            inner = f"{labels},{own[1:-1]}" if own and own != "{}" else labels
            self.add(family if name.startswith(family) and family else name, f"{name}{{{inner}}} {value}")

    def text(self) -> str:
        lines: list[str] = []
        for family, samples in self._samples.items():
            meta = self._meta.get(family, {})
            lines += [f"# {kind} {family} {meta[kind]}" for kind in ("HELP", "TYPE") if kind in meta]
            lines += samples
        return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
