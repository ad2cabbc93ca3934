"""What the live feed refuses, asked where no daemon of it runs."""

import pytest
from django.test import Client

from sprayer_project import redis
from tests.conftest import TenantUnderTest
from tests.feedback.live import PATH

pytestmark = [pytest.mark.services, pytest.mark.django_db]


@pytest.mark.parametrize("query", ["status=gone", "type=delivery", "type=message.*"])
def test_a_filter_that_cannot_fit_is_refused(acme: TenantUnderTest, client: Client, query: str) -> None:
    answer = client.get(f"{PATH}?{query}", headers=acme.headers())
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")


def test_without_the_daemon_or_under_wsgi_the_feed_says_so(acme: TenantUnderTest, client: Client) -> None:
    answer = client.get(PATH, headers=acme.headers())
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    redis.client("acme").set("sprayer:live:beat", 1)
    answer = client.get(PATH, headers=acme.headers())
    assert (answer.status_code, answer.json()["code"]) == (501, "not_here")
