"""When nats-server is started again because it does not write."""

import itertools

from llmproxy.launcher.stuck import AGAIN_S, ROOM_BYTES_MIN, STUCK_S, Stuck

ROOM = ROOM_BYTES_MIN


def test_it_is_started_again_when_records_wait_though_there_is_room() -> None:
    stuck = Stuck()
    assert not stuck.look(True, ROOM, 100.0)
    assert not stuck.look(True, ROOM, 100.0 + STUCK_S - 1)
    assert stuck.look(True, ROOM, 100.0 + STUCK_S)


def test_a_disk_that_is_still_full_is_waited_for() -> None:
    stuck = Stuck()
    for now in range(0, 1_000, 5):
        assert not stuck.look(True, ROOM - 1, float(now))
    assert not stuck.look(True, ROOM, 1_000.0), "the time counts from when there is room"
    assert stuck.look(True, ROOM, 1_000.0 + STUCK_S)


def test_what_passes_by_itself_is_left_alone() -> None:
    stuck = Stuck()
    for now in range(0, 1_000, 5):
        assert not stuck.look(now % 15 != 0, ROOM, float(now))


def test_it_is_not_started_again_and_again() -> None:
    stuck = Stuck()
    started = [now for now in range(0, 1_000, 5) if stuck.look(True, ROOM, float(now))]
    assert all(later - earlier >= AGAIN_S for earlier, later in itertools.pairwise(started))
    assert len(started) > 1
