"""Tokens and the endpoint that issues them."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from django.core import signing

from messaging.realtime import tokens
from messaging.realtime.refusals import BadToken


def test_a_token_names_tenant_receiver_and_expiry() -> None:
    token, expires_at = tokens.issue("acme", "álvaro:1", 60)
    claims = tokens.verify(token)
    assert (claims.tenant, claims.receiver, claims.expires_at) == ("acme", "álvaro:1", expires_at)
    assert timedelta(seconds=55) < expires_at - datetime.now(UTC) <= timedelta(seconds=60)


def test_a_changed_token_is_refused() -> None:
    token, _ = tokens.issue("acme", "alice", 60)
    other, _ = tokens.issue("globex", "alice", 60)
    for bad in (token[:-1] + ("a" if token[-1] != "a" else "b"), other.split(":")[0] + token[token.index(":") :], "x"):
        with pytest.raises(BadToken) as caught:
            tokens.verify(bad)
        assert caught.value.code == "invalid_token"


def test_an_expired_token_is_refused() -> None:
    past = int(datetime.now(UTC).timestamp()) - 1
    token = signing.dumps({"t": "acme", "r": "alice", "x": past}, salt="sprayer.realtime.token")
    with pytest.raises(BadToken) as caught:
        tokens.verify(token)
    assert caught.value.code == "token_expired"


def test_something_else_that_we_signed_is_no_token() -> None:
    with pytest.raises(BadToken):
        tokens.verify(signing.dumps({"t": "acme", "r": "alice", "x": 9_999_999_999}))


def test_no_token_is_said_to_be_missing() -> None:
    with pytest.raises(BadToken) as caught:
        tokens.verify("")
    assert caught.value.code == "missing_token"


@pytest.mark.parametrize("ttl", [0, -1, tokens.MAX_TTL + 1])
def test_a_token_lives_for_a_second_to_a_day(ttl: int) -> None:
    with pytest.raises(ValueError, match="ttl"):
        tokens.issue("acme", "alice", ttl)


def test_tokens_hold_characters_that_need_no_quoting_in_a_query() -> None:
    token, _ = tokens.issue("acme", "a/b c?&=", 60)
    assert httpx.URL(f"ws://localhost/?token={token}").params["token"] == token
