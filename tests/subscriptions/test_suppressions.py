"""Suppressed plain addresses in the record and in the index that dispatchers ask."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from sprayer_project import mongo, redis
from subscriptions import index, rebuild, selectors, services, suppressions
from subscriptions.addresses import address_hash

pytestmark = pytest.mark.services
PHONE = "+34600000001"
HASH = address_hash("acme", "sms", PHONE)


def asked(channel: str = "sms") -> dict[str, str]:
    """What a dispatcher finds, the index being made where it is lost."""

    async def ask() -> dict[str, str]:
        try:
            return (await selectors.addresses_of("acme", channel, [], None, [HASH, "another"]))[1]
        finally:
            await redis.aclose()

    return asyncio.run(ask())


def put(reason: str = "bounced") -> None:
    suppressions.put("acme", suppressions.clean("acme", "sms", PHONE), reason)


def test_a_dispatcher_finds_it_at_once_on_its_channel_alone() -> None:
    assert asked() == {}
    put()
    assert asked() == {HASH: "bounced"} and asked("http") == {}
    suppressions.lift("acme", "sms", HASH)
    assert asked() == {}


def test_an_index_that_was_lost_has_it_again() -> None:
    put()
    redis.client("acme").flushall()
    assert asked() == {HASH: "bounced"}


def keys() -> list[str]:
    return list(redis.client("acme").scan_iter(match=f"{index.base('acme')}*:x:*"))


def test_an_older_write_that_comes_late_does_not_bring_it_back() -> None:
    put()
    assert asked() == {HASH: "bounced"}
    suppressions.lift("acme", "sms", HASH)
    assert index.apply("acme", [index.SuppressionEntry(f"sms/{HASH}", 1, False, "bounced")]) == [2]
    assert asked() == {}


def test_a_rebuild_leaves_one_generation_and_no_lifted_one_for_ever() -> None:
    put()
    assert asked() == {HASH: "bounced"}
    rebuild.rebuild("acme")
    assert len(keys()) == 1 and asked() == {HASH: "bounced"}
    suppressions.lift("acme", "sms", HASH)
    assert all(cast(int, redis.client("acme").ttl(key)) > 0 for key in keys())


def test_what_the_index_missed_is_finished_by_the_sweeper() -> None:
    put()
    assert asked() == {HASH: "bounced"}
    change = {"$set": {"deleted": True, "index_pending": True}, "$inc": {"version": 1}}
    mongo.database()["suppressions"].update_one({"hash": HASH}, change)
    assert asked() == {HASH: "bounced"}
    assert services.finish_pending(10) == 1
    assert asked() == {} and services.finish_pending(10) == 0


def test_an_older_report_does_not_bring_a_lifted_suppression_back() -> None:
    then = datetime.now(UTC) - timedelta(seconds=5)
    suppressions.suppress("acme", "sms", HASH, PHONE, "bounced", then)
    suppressions.lift("acme", "sms", HASH)
    suppressions.suppress("acme", "sms", HASH, PHONE, "bounced", then)
    assert asked() == {}
    suppressions.suppress("acme", "sms", HASH, PHONE, "bounced", datetime.now(UTC) + timedelta(seconds=1))
    assert asked() == {HASH: "bounced"}


def test_who_suppresses_it_himself_is_believed_whatever_the_clock_of_the_lifting_said() -> None:
    put()
    suppressions.lift("acme", "sms", HASH)
    ahead = {"$set": {"lifted_at": datetime.now(UTC) + timedelta(minutes=1)}}
    mongo.database()["suppressions"].update_one({"hash": HASH}, ahead)
    put("opted_out")
    assert suppressions.one("acme", "sms", HASH).reason == "opted_out" and asked() == {HASH: "opted_out"}


def test_the_first_reason_stays_until_it_is_lifted() -> None:
    put()
    put("opted_out")
    assert suppressions.one("acme", "sms", HASH).reason == "bounced"
    suppressions.lift("acme", "sms", HASH)
    put("opted_out")
    assert suppressions.one("acme", "sms", HASH).reason == "opted_out"


def test_a_tenants_suppressions_are_its_own() -> None:
    suppressions.suppress("globex", "sms", HASH, PHONE, "bounced", datetime.now(UTC))
    assert asked() == {} and suppressions.page("acme", None, None, 10).data == []
