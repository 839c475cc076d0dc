"""The end of a log, as it is quoted when a service does not come up."""

from pathlib import Path

from llmproxy.launcher import logs


def test_the_end_of_a_log_is_that_of_this_start(tmp_path: Path) -> None:
    log = tmp_path / "router-1.log"
    log.write_text("an earlier start\n")
    before = logs.sizes(tmp_path)[log]
    assert logs.tail(log, 5, since=before) == []
    with log.open("a") as file:
        file.write("one\ntwo\nthree\n")
    assert logs.tail(log, 2, since=before) == ["two", "three"]
    assert logs.tail(log, 9) == ["an earlier start", "one", "two", "three"]


def test_a_log_that_was_emptied_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "edge-1.log"
    log.write_text("new\n")
    assert logs.tail(log, 5, since=1_000) == ["new"]
    assert logs.tail(tmp_path / "none.log", 5) == []
