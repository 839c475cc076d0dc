"""What a service logs of a connection to NATS that does not come about."""

import nats.errors

from llmproxy.common.nats_complaints import COMPLAIN_AGAIN_S, COMPLAINTS_MAX, REFUSED, Complaints, shown


def test_a_wrong_password_is_told_from_a_server_that_is_away() -> None:
    complaints = Complaints(lambda: 0.0)
    assert complaints.said(nats.errors.Error("nats: 'Authorization Violation'")) == REFUSED
    assert complaints.said(ConnectionRefusedError(111, "refused")) == "ConnectionRefusedError"


def test_the_same_is_not_said_ten_times_a_second() -> None:
    now = 0.0
    complaints = Complaints(lambda: now)
    said = []
    for tick in range(int(COMPLAIN_AGAIN_S * 25)):
        now = tick / 10
        said.append(complaints.said(OSError("no")))
    assert [words for words in said if words] == ["OSError"] * 3


def test_the_servers_words_stay_out_of_the_log_and_the_memory_is_bounded() -> None:
    complaints = Complaints(lambda: 0.0)
    assert "hunter2" not in complaints.said(nats.errors.Error("permissions violation for hunter2"))
    for number in range(3 * COMPLAINTS_MAX):
        complaints.said(type(f"Odd{number}", (Exception,), {})())
    assert len(complaints._said_at) <= COMPLAINTS_MAX


def test_an_address_is_shown_without_the_password_in_it() -> None:
    assert shown("nats://edge:hunter2@bus:4222") == "nats://bus:4222"
    assert shown("nats://a:b@one:4222,tls://c:d@two:4222") == "nats://one:4222,tls://two:4222"
    assert shown("nats://127.0.0.1:4222") == "nats://127.0.0.1:4222"
    assert shown("nats://edge:hunt/er@2@bus:4222") == "nats://bus:4222"
