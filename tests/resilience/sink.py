"""The sandbox's webhook endpoint, seen from a test."""

import json
from typing import Any

import httpx
from django.conf import settings

from sprayer_project import signatures
from subscriptions.inputs import AddressInput, ReceiverInput
from subscriptions.services import put_receivers
from tenants.services import set_channel_config


def prepare(tenant: str, path: str, receivers: int = 1) -> list[str]:
    """Enable the tenant's http channel and make receivers whose endpoints are at a path of the sink; their names."""
    set_channel_config(tenant, "http", {"secret": signatures.new_secret()})
    names = [f"r{number}" for number in range(receivers)]
    inputs = [ReceiverInput(name, [AddressInput("http", address(f"{path}?receiver={name}"))]) for name in names]
    for row in put_receivers(tenant, inputs):
        assert not isinstance(row, Exception), row
    return names


def address(path: str) -> str:
    return f"{settings.SANDBOX_URL}/http/{path}"


def switch(**switches: Any) -> None:
    """Set switches of the sandbox's control."""
    httpx.put(f"{settings.SANDBOX_URL}/control", json=switches).raise_for_status()


def arrived(tenant: str) -> list[str]:
    """The message ids of the newest 1,000 requests for a tenant, one a request."""
    answer = httpx.get(f"{settings.SANDBOX_URL}/arrived/http", params={"tenant": tenant, "limit": 1000})
    return [json.loads(request["body"])["data"]["id"] for request in answer.raise_for_status().json()["data"]]
