"""POST /api/v1/receivers/{receiver}/tokens."""

import pytest
from django.test import Client

from messaging.realtime import tokens
from subscriptions import services as subscriptions
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services


def post(client: Client, path: str, headers: dict[str, str], body: str = "{}") -> tuple[int, dict[str, object]]:
    answer = client.post(f"/api/v1/receivers/{path}/tokens", body, content_type="application/json", headers=headers)
    return answer.status_code, answer.json()


def test_a_token_is_issued_for_a_known_receiver(client: Client, acme: TenantUnderTest) -> None:
    subscriptions.put_receiver("acme", "ann/b c")
    status, body = post(client, "ann%2Fb%20c", acme.headers(), '{"ttl": 60}')
    assert status == 201
    claims = tokens.verify(str(body["token"]))
    assert (claims.tenant, claims.receiver) == ("acme", "ann/b c")
    assert claims.expires_at.isoformat().replace("+00:00", "Z") == body["expires_at"]
    assert str(body["url"]).startswith("ws://")


def test_an_unknown_receiver_and_a_strangers_are_not_found(
    client: Client, acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    subscriptions.put_receiver("acme", "alice")
    for receiver, tenant in (("nobody", acme), ("alice", globex)):
        status, body = post(client, receiver, tenant.headers())
        assert (status, body["code"]) == (404, "unknown_receiver")


@pytest.mark.parametrize("body", ['{"ttl": 0}', '{"ttl": 86401}', '{"ttl": "60"}', '{"ttl": true}', '{"life": 60}'])
def test_a_bad_ttl_is_refused_with_a_pointer(client: Client, acme: TenantUnderTest, body: str) -> None:
    subscriptions.put_receiver("acme", "alice")
    status, answer = post(client, "alice", acme.headers(), body)
    assert status == 400
    assert answer["errors"]
