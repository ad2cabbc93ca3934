"""Equal requests at the same moment in two processes make one message."""

import asyncio

import httpx
import pytest

from messaging.documents import Message
from sprayer_project import amqp
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem
from tests.resilience import sink
from tests.resilience.load import Submission, accepted, run

PAIRS, AT_ONCE = 200, 8


@pytest.mark.services
def test_200_simultaneous_pairs_with_equal_keys_make_200_messages(
    live_system: LiveSystem, acme: TenantUnderTest
) -> None:
    (receiver,) = sink.prepare("acme", "orders")
    webs = live_system.start("web", "web")
    body = {"to": {"receivers": [receiver]}, "channels": ["http"], "content": {"title": "Once"}}
    pairs = [[Submission(str(web.url), acme.headers(), f"pair-{n}", body) for web in webs] for n in range(PAIRS)]
    answers = run(_pair_by_pair(pairs))
    first, second = answers[::2], answers[1::2]

    assert [answer.json() for answer in first] == [answer.json() for answer in second]
    assert len({answer.json()["id"] for answer in answers}) == PAIRS
    for pair in zip(first, second, strict=True):
        assert any("Idempotency-Replayed" in answer.headers for answer in pair)
    assert Message._get_collection().count_documents({}) == PAIRS
    assert sum(amqp.depth(amqp.job_queue("http", lane)) or 0 for lane in amqp.LANES) == PAIRS


async def _pair_by_pair(pairs: list[list[Submission]]) -> list[httpx.Response]:
    """Both of a pair at the same moment, a few pairs at a time: more would be overload, which is answered with 503."""
    answers: list[httpx.Response] = []
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=2 * AT_ONCE), timeout=60) as http:
        for start in range(0, len(pairs), AT_ONCE):
            submissions = [submission for pair in pairs[start : start + AT_ONCE] for submission in pair]
            found = await asyncio.gather(*(accepted(http, submission) for submission in submissions))
            answers += [answer for answer, _ in found]
    return answers
