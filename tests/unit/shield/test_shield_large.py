"""Bodies and answers that are too large for the loop or for a message."""

import json

import pytest
from msgspec import Raw
from unit.shield.shield_gateway import MAIL, TOKEN, Gateway, asking, chat, delta, gateway, heard

from llmproxy.common.frames import Data, End, Failure, Head


def test_a_large_body_is_examined_off_the_loop_and_goes_on_masked() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat("word " * 20_000 + MAIL))
        routed, _ = await around.route()
        assert MAIL not in bytes(routed.body).decode()
        assert around.inspect.sessions

    gateway(scenario)


def test_a_small_body_with_very_many_findings_is_examined_off_the_loop() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat([{"type": "text", "text": f"a{number}@b.co"} for number in range(400)]))
        await around.until(lambda: bool(around.shield.holds))
        routed, _ = await around.route()
        assert b"@b.co" not in bytes(routed.body)
        assert routed.findings == {"email": 400}

    gateway(scenario)


def test_a_body_by_claim_check_is_masked_and_deposited_again() -> None:
    async def scenario(around: Gateway) -> None:
        text = "word " * 300_000
        reference = await around.edge.deposit("big", json.dumps(chat(text + MAIL)).encode())
        around.send(b"null", body_ref=reference)
        routed, answer = await around.route()
        assert routed.body_ref not in ("", reference)
        body = await around.router.withdraw(routed.body_ref)
        placeholder = json.loads(body)["messages"][0]["content"][len(text) :]
        assert placeholder.startswith("[EMAIL_")
        reply = json.dumps({"choices": [{"message": {"content": text + placeholder}}]}).encode()
        answer.send(Head(), Data(ref=await around.router.deposit("reply", reply)), End())
        frames = [await around.frame() for _ in range(3)]
        data = frames[1]
        assert isinstance(data, Data)
        whole = json.loads(await around.edge.withdraw(data.ref))
        assert whole["choices"][0]["message"]["content"] == text + MAIL
        assert isinstance(frames[2], End)
        assert not around.inspect.sessions
        left = {name for _, name in around.edge.wire.broker.objects}
        assert left == {reference, data.ref}, "the edge's to discard; what the shield read and wrote is gone"

    gateway(scenario)


PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0B" * 700 + "\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_large_only_when_it_is_unmasked_goes_by_claim_check(stream: bool) -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(PEM), stream=stream)
        routed, answer = await around.route()
        text = json.loads(bytes(routed.body))["messages"][0]["content"] * 200
        what = "delta" if stream else "message"
        reply = json.dumps({"choices": [{"index": 0, what: {"content": text}}]}).encode()
        answer.send(Head(), Data(Raw(reply)), End())
        frames = [await around.frame() for _ in range(3)]
        assert [type(frame) for frame in frames] == [Head, Data, End]
        assert isinstance(frames[1], Data)
        whole = json.loads(await around.edge.withdraw(frames[1].ref))
        assert whole["choices"][0][what]["content"] == PEM * 200
        assert not around.inspect.sessions

    gateway(scenario)


def test_two_large_events_of_one_stream_do_not_take_each_others_place() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL), stream=True)
        _, answer = await around.route()
        events = [
            json.dumps({"choices": [{"index": 0, "delta": {"content": f"{letter} " * 600_000}}]}).encode()
            for letter in "ab"
        ]
        refs = [await around.router.deposit(f"event-{number}", event) for number, event in enumerate(events)]
        answer.send(Head(), *[Data(ref=ref) for ref in refs], End())
        frames = [await around.frame() for _ in range(4)]
        read = [await around.edge.withdraw(frame.ref) for frame in frames if isinstance(frame, Data)]
        assert read == events

    gateway(scenario)


def test_a_clean_body_by_claim_check_keeps_its_reference() -> None:
    async def scenario(around: Gateway) -> None:
        reference = await around.edge.deposit("big", json.dumps(chat("word " * 300_000)).encode())
        sent = around.send(b"null", body_ref=reference)
        assert (await around.route())[0] == sent

    gateway(scenario)


def test_a_large_answer_that_cannot_be_fetched_fails_and_frees_the_map() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL))
        _, answer = await around.route()
        answer.send(Head(), Data(ref="nowhere"), End())
        assert isinstance(await around.frame(), Head)
        assert isinstance(await around.frame(), Failure)
        assert not around.inspect.sessions

    gateway(scenario)


def test_large_events_are_read_off_the_loop_and_keep_their_place() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking(), stream=True)
        _, answer = await around.route()
        said = ["a " * 30_000, "b ", f"{TOKEN} ", "c " * 30_000, "d "]
        answer.send(Head(), *map(delta, said), End())
        frames = [await around.frame()]
        while not isinstance(frames[-1], End):
            frames.append(await around.frame())
        assert heard(frames) == "".join(said).replace(TOKEN, "[SECRET_REDACTED]")
        assert not around.inspect.sessions

    gateway(scenario)
