"""Equal requests at the same moment in two processes make one message."""

import asyncio

import httpx
import pytest

from messaging.documents import Message
from sprayer_project import amqp
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem
from tests.resilience import sink
from tests.resilience.load import Submission, post, run

PAIRS = 200


@pytest.mark.services
def test_200_simultaneous_pairs_with_equal_keys_make_200_messages(
    live_system: LiveSystem, acme: TenantUnderTest
) -> None:
    (receiver,) = sink.prepare("acme", "orders")
    webs = live_system.start("web", "web")
    body = {"to": {"receivers": [receiver]}, "channels": ["http"], "content": {"title": "Once"}}
    pairs = [[Submission(str(web.url), acme.headers(), f"pair-{n}", body) for web in webs] for n in range(PAIRS)]
    answers = run(_all_at_once([submission for pair in pairs for submission in pair]))
    first, second = answers[::2], answers[1::2]

    assert {answer.status_code for answer in answers} == {202}
    assert [answer.json() for answer in first] == [answer.json() for answer in second]
    assert len({answer.json()["id"] for answer in answers}) == PAIRS
    for pair in zip(first, second, strict=True):
        assert ["Idempotency-Replayed" in answer.headers for answer in pair].count(True) == 1
    assert Message._get_collection().count_documents({}) == PAIRS
    assert sum(amqp.depth(amqp.job_queue("http", lane)) or 0 for lane in amqp.LANES) == PAIRS


async def _all_at_once(submissions: list[Submission]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=len(submissions))
    async with httpx.AsyncClient(limits=limits, timeout=60) as http:
        return await asyncio.gather(*(post(http, submission) for submission in submissions))
