"""Long poll, server-sent events, history and acknowledgements over HTTP, of real web processes."""

import asyncio
import json
import os
import signal
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from feedback import selectors as feedback
from feedback.events import Status
from messaging import inbox
from messaging.realtime import tokens
from sprayer_project import redis
from tests.live import LiveSystem, wait_for
from tests.messaging.inboxes import message, recipient, send
from tests.messaging.realtime.clients import LIMIT, http

pytestmark = pytest.mark.services


async def status_of(delivery: str, status: Status) -> None:
    """The record comes to say so."""

    def known() -> bool:
        rows = feedback.states("acme", [delivery])
        return bool(rows) and rows[delivery].status is status

    await asyncio.to_thread(wait_for, known, what=f"{status} in the record")


async def test_a_poll_answers_at_once_with_what_waits_and_acknowledges_what_it_has(web: LiveSystem) -> None:
    sent = [message(title=str(number)) for number in range(3)]
    for outgoing in sent:
        await send(outgoing, "alice")
    async with http(web) as alice:
        first = await alice.poll()
        assert (first["offset"], first["recovered"]) == ("3", True)
        assert [frame["id"] for frame in first["messages"]] == [outgoing.id for outgoing in sent]
        assert first["messages"][0] == {
            "type": "message",
            "offset": "1",
            "id": sent[0].id,
            "content": {"title": "0"},
            "sent_at": sent[0].created_at.isoformat().replace("+00:00", "Z"),
        }
        again = await alice.poll(epoch=first["epoch"], offset=first["offset"], wait=0)
        assert again == {"epoch": first["epoch"], "offset": "3", "recovered": True, "messages": []}
        await status_of(recipient(sent[2], "alice").delivery, Status.DELIVERED)
        assert (await alice.poll(wait=0))["messages"] == []


async def test_a_waiting_poll_answers_with_the_first_message_that_comes(web: LiveSystem) -> None:
    async with http(web) as alice:
        start = await alice.poll(wait=0)
        waiting = asyncio.create_task(alice.poll(epoch=start["epoch"], offset=start["offset"], wait=30))
        outgoing = message()
        await send(outgoing, "alice")
        answer = await waiting
        assert [frame["id"] for frame in answer["messages"]] == [outgoing.id]
        assert answer["offset"] == "1"


async def test_a_poll_whose_time_is_over_answers_nothing(web: LiveSystem) -> None:
    async with http(web) as alice:
        assert (await alice.poll(wait=1))["messages"] == []


async def test_a_poll_of_another_epoch_is_answered_at_once_and_not_recovered(web: LiveSystem) -> None:
    async with http(web) as alice:
        answer = await alice.poll(epoch="0123456789abcdef", offset="7", wait=30)
        assert (answer["recovered"], answer["messages"], answer["offset"]) == (False, [], "0")


async def test_a_poll_below_the_floor_is_not_recovered(web: LiveSystem, settings: Settings) -> None:
    settings.INBOX_LENGTH = 2
    async with http(web) as alice:
        epoch = (await alice.poll(wait=0))["epoch"]
        for _ in range(4):
            await send(message(), "alice")
        answer = await alice.poll(epoch=epoch, offset="0", wait=30)
        assert not answer["recovered"]
        assert [frame["offset"] for frame in answer["messages"]] == ["3", "4"]
        assert (await alice.poll(epoch=epoch, offset=answer["offset"], wait=0))["recovered"]


async def test_many_waiting_messages_come_in_several_answers_without_a_gap(web: LiveSystem) -> None:
    sent = [message() for _ in range(120)]
    for outgoing in sent:
        await send(outgoing, "alice")
    heard: list[str] = []
    async with http(web) as alice:
        answer = await alice.poll()
        while answer["messages"]:
            heard += [frame["id"] for frame in answer["messages"]]
            answer = await alice.poll(epoch=answer["epoch"], offset=answer["offset"], wait=0)
    assert heard == [outgoing.id for outgoing in sent]


async def test_history_is_newest_first_and_pages_backwards(web: LiveSystem) -> None:
    sent = [message() for _ in range(5)]
    for outgoing in sent:
        await send(outgoing, "alice")
    async with http(web) as alice:
        first = (await alice.get("/history", limit=3)).json()
        assert [frame["id"] for frame in first["messages"]] == [outgoing.id for outgoing in sent[:1:-1]]
        second = (await alice.get("/history", limit=3, before=first["next_before"])).json()
        assert [frame["id"] for frame in second["messages"]] == [sent[1].id, sent[0].id]
        assert second["next_before"] is None
        assert second["epoch"] == first["epoch"]
        assert (await alice.get("/history", before="0")).json()["messages"] == []


async def test_a_stream_is_welcomed_hears_and_resumes_by_its_last_event(web: LiveSystem) -> None:
    sent = [message() for _ in range(3)]
    await send(sent[0], "alice")
    async with http(web) as alice:
        async with alice.stream() as stream:
            assert stream.answer.headers["content-type"].startswith("text/event-stream")
            welcome = await stream.hear("welcome")
            assert (welcome["receiver"], welcome["offset"], welcome["recovered"]) == ("alice", "0", True)
            assert (await stream.hear("message"))["id"] == sent[0].id
            await send(sent[1], "alice")
            assert (await stream.hear("message"))["id"] == sent[1].id
            assert stream.retry > 0
        await send(sent[2], "alice")
        async with alice.stream(last=stream.last) as again:
            resumed = await again.hear("welcome")
            assert (resumed["epoch"], resumed["offset"], resumed["recovered"]) == (welcome["epoch"], "2", True)
            assert (await again.hear("message"))["id"] == sent[2].id
        async with alice.stream(epoch=welcome["epoch"], offset="1") as queried:
            assert (await queried.hear("welcome"))["offset"] == "1"


async def test_a_stream_sends_comments_while_there_is_nothing_to_say(web: LiveSystem) -> None:
    async with http(web) as alice, alice.stream() as stream:
        await stream.hear("welcome")
        while stream.comments < 2:
            line = await asyncio.wait_for(anext(stream.lines), LIMIT)
            stream.note(line, "")
        assert stream.comments == 2


async def test_a_stream_ends_with_its_token(web: LiveSystem) -> None:
    token, _ = tokens.issue("acme", "alice", 2)
    async with http(web, token=token) as alice, alice.stream() as stream:
        await stream.hear("welcome")
        assert (await stream.hear("error"))["code"] == "token_expired"
        await stream.end()


async def test_an_ack_and_a_read_are_reported_and_move_the_default_start(web: LiveSystem) -> None:
    sent = [message(), message()]
    for outgoing in sent:
        await send(outgoing, "alice")
    async with http(web) as alice:
        async with alice.stream() as stream:
            epoch = (await stream.hear("welcome"))["epoch"]
            first, second = await stream.hear("message"), await stream.hear("message")
        assert (await alice.post("/ack", epoch=epoch, offset=first["offset"])).status_code == 204
        assert (await alice.post("/read", epoch=epoch, offset=second["offset"])).status_code == 204
        await status_of(recipient(sent[0], "alice").delivery, Status.DELIVERED)
        await status_of(recipient(sent[1], "alice").delivery, Status.READ)
        answer = await alice.poll(wait=0)
        assert [frame["id"] for frame in answer["messages"]] == [sent[1].id]


async def test_an_ack_of_another_epoch_moves_nothing(web: LiveSystem) -> None:
    await send(message(), "alice")
    async with http(web) as alice:
        assert (await alice.post("/ack", epoch="0123456789abcdef", offset="1")).status_code == 204
        assert (await alice.post("/read", epoch="0123456789abcdef", offset="1")).status_code == 204
        assert len((await alice.poll(wait=0))["messages"]) == 1


@pytest.mark.parametrize("path", ["", "/stream", "/history"])
@pytest.mark.parametrize(("token", "code"), [("", "missing_token"), ("nonsense", "invalid_token")])
async def test_a_bad_token_is_a_problem_document(web: LiveSystem, path: str, token: str, code: str) -> None:
    async with httpx.AsyncClient(base_url=str(web["web"].url), trust_env=False) as requests:
        answer = await requests.get(f"/api/v1/inbox{path}", params={"token": token})
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_in_the_query_is_as_good(web: LiveSystem) -> None:
    token, _ = tokens.issue("acme", "alice", 60)
    async with httpx.AsyncClient(base_url=str(web["web"].url), trust_env=False) as requests:
        answer = await requests.get("/api/v1/inbox", params={"token": token, "wait": 0})
    assert answer.status_code == 200


BAD_QUERIES: list[tuple[str, dict[str, str], str]] = [
    ("", {"wait": "61"}, "?wait"),
    ("", {"wait": "-1"}, "?wait"),
    ("", {"epoch": "x", "offset": "x"}, "?offset"),
    ("", {"offset": "1"}, "?epoch"),
    ("/stream", {"epoch": "1"}, "?epoch"),
    ("/history", {"before": "x"}, "?before"),
    ("/history", {"limit": "0"}, "?limit"),
]


@pytest.mark.parametrize(("path", "query", "pointer"), BAD_QUERIES)
async def test_a_bad_query_is_named(web: LiveSystem, path: str, query: dict[str, str], pointer: str) -> None:
    async with http(web) as alice:
        answer = await alice.get(path, **query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer


EPOCH = "0123456789abcdef"
BAD_PLACES: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 1, "offset": "1"}, "/epoch"),
    ({"epoch": "x", "offset": "1"}, "/epoch"),
    ({"epoch": "\ud800", "offset": "1"}, ""),  # half a character is in no JSON that we take
    ({"epoch": EPOCH * 900, "offset": "1"}, "/epoch"),
    ({"epoch": EPOCH, "offset": 1}, "/offset"),
    ({"epoch": EPOCH}, "/offset"),
]


@pytest.mark.parametrize("path", ["/ack", "/read"])
@pytest.mark.parametrize(("body", "pointer"), BAD_PLACES)
async def test_a_bad_ack_is_named(web: LiveSystem, path: str, body: dict[str, Any], pointer: str) -> None:
    async with http(web) as alice:
        answer = await alice.requests.post(
            f"/api/v1/inbox{path}", content=json.dumps(body), headers={"Authorization": f"Bearer {alice.token}"}
        )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_a_body_that_is_no_json_or_too_long_and_another_method_are_refused(web: LiveSystem) -> None:
    async with http(web) as alice:
        headers = {"Authorization": f"Bearer {alice.token}"}
        for content, status in (("no json", 400), ("[]", 400), ("x" * 20_000, 413)):
            answer = await alice.requests.post("/api/v1/inbox/ack", content=content, headers=headers)
            assert answer.status_code == status
        answer = await alice.requests.put("/api/v1/inbox", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_pages_of_every_origin_may_ask_until_the_operator_names_some(web: LiveSystem) -> None:
    async with http(web) as alice:
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        preflight = await alice.requests.options("/api/v1/inbox/ack", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        refused = await alice.requests.get("/api/v1/inbox", headers={"Origin": "https://app.example"})
        assert refused.headers["access-control-allow-origin"] == "*"
    (strict,) = web.start("web", env={"SPRAYER_REALTIME_ORIGINS": "https://app.example,https://www.example"})
    async with http(web, web=strict.name) as alice:
        own = await alice.requests.options("/api/v1/inbox", headers=asked)
        assert own.headers["access-control-allow-origin"] == "https://app.example"
        assert own.headers["vary"] == "Origin"
        foreign = await alice.requests.get("/api/v1/inbox", headers={"Origin": "https://evil.example"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in foreign.headers
    strict.stop()


async def test_draining_ends_waiting_polls_with_nothing_and_streams_with_a_word(web: LiveSystem) -> None:
    (process,) = web.start("web")
    async with (
        http(web, web=process.name) as alice,
        http(web, "bob", web=process.name) as bob,
        alice.stream() as stream,
    ):
        await stream.hear("welcome")
        start = await bob.poll(wait=0)
        waiting = asyncio.create_task(bob.poll(wait=60))
        held = f"{inbox.stream_key('acme', 'bob')}:holders"
        await asyncio.to_thread(wait_for, lambda: redis.client("acme").exists(held), what="the poll's registration")
        os.kill(process.pid, signal.SIGTERM)
        assert await waiting == start
        assert (await stream.hear("error"))["code"] == "restarting"
        await stream.end()
    process.stop()
