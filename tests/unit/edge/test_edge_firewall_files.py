"""The files of signatures may change while the edge runs: they are read again, whole, or what is in force stays."""

import asyncio
from pathlib import Path

import pytest
from patience import PATIENCE_S

from llmproxy.common import config, signatures
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.signatures import Budget, Matcher, Stamp
from llmproxy.edge.firewall import Rules

SNAPSHOT = Snapshot(revision=1, config=Config())


class Files:
    """What is written, and when; reading what is no signature raises."""

    def __init__(self) -> None:
        self.written: Stamp = ((1, 10),)
        self.words = "blue heron"

    def stamp(self) -> Stamp:
        return self.written

    def build(self, settings: config.Firewall) -> Matcher | None:
        if not settings.enabled:
            return None
        return signatures.matcher(
            signatures.Signatures(version=1, vocabulary={}, signatures=()),
            [config.Signature(id="own", phrase=self.words, category="custom", severity="high")],
        )


def finds(rules: Rules, text: bytes) -> bool:
    assert rules.matcher is not None
    return bool(rules.matcher.scan(text, Budget(1_000, 100, 10_000)))


async def settled(rules: Rules) -> None:
    while rules.pending is not None and not rules.pending.done():
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)


def test_files_that_changed_are_in_force_once_they_are_written_to_their_end() -> None:
    async def scenario() -> None:
        files = Files()
        rules = Rules(files.build, files.stamp)
        rules.follow(SNAPSHOT)
        rules.look()
        assert rules.pending is None
        files.words, files.written = "grey heron", ((2, 5),)
        rules.look()
        files.written = ((2, 11),)  # It goes on.
        rules.look()
        assert rules.pending is None
        rules.look()
        await settled(rules)
        assert finds(rules, b"a grey heron")
        assert not finds(rules, b"a blue heron")
        made = rules.pending
        rules.look()
        assert rules.pending is made

    asyncio.run(scenario())


def test_an_edge_looks_again_and_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmproxy.edge.firewall.LOOK_S", 0.001)

    async def scenario() -> None:
        files = Files()
        rules = Rules(files.build, files.stamp)
        rules.follow(SNAPSHOT)
        watching = asyncio.create_task(rules.watch())
        for words in ("grey heron", "white heron"):
            files.words, files.written = words, ((2, len(words)),)
            async with asyncio.timeout(PATIENCE_S):
                while not finds(rules, f"a {words}".encode()):
                    await asyncio.sleep(0.001)
        watching.cancel()

    asyncio.run(scenario())


def test_files_that_cannot_be_read_leave_what_is_in_force(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        files = Files()
        rules = Rules(files.build, files.stamp)
        rules.follow(SNAPSHOT)
        files.words, files.written = "", ((2, 5),)
        rules.look()
        rules.look()
        await settled(rules)
        assert finds(rules, b"a blue heron")
        files.words, files.written = "grey heron", ((3, 5),)
        rules.look()
        rules.look()
        await settled(rules)
        assert finds(rules, b"a grey heron")

    asyncio.run(scenario())
    assert "the old ones stay in force" in caplog.text


def test_a_file_that_is_written_is_told_from_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures.resources, "files", lambda _: tmp_path)
    before = signatures.stamp()
    (tmp_path / signatures.DATA[0]).write_text("version: 1")
    first = signatures.stamp()
    (tmp_path / signatures.DATA[0]).write_text("version: 12")
    assert len({before, first, signatures.stamp()}) == 3
