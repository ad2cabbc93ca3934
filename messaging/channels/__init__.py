"""The registry: every module of this folder but base is a channel."""

import importlib
import pkgutil
from functools import cache

from messaging.channels.base import Channel
from sprayer_project.errors import Invalid
from tenants import selectors as tenants


@cache
def registry() -> dict[str, Channel]:
    """Every channel by name."""
    found: dict[str, Channel] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name == "base":
            continue
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        classes = [
            value for value in vars(loaded).values() if isinstance(value, type) and value.__module__ == loaded.__name__
        ]
        (channel,) = [value for value in classes if issubclass(value, Channel)]
        channel.name = module.name
        found[module.name] = channel()
    return found


def enabled(tenant: str, mode: str) -> list[str]:
    """The channels that a tenant can use, in alphabetical order.

    A test message needs no configuration: the sandbox takes every channel. Neither does a channel without credentials.
    """
    if mode == "test":
        return sorted(registry())
    configs = tenants.channel_configs(tenant)
    return sorted(
        name
        for name, found in registry().items()
        if (configs[name].enabled if name in configs else not found.Config.base_fields)
    )


def channel(name: str) -> Channel:
    """Raises Invalid for an unknown channel."""
    try:
        return registry()[name]
    except KeyError:
        raise Invalid("unknown_channel", f"{name!r} is not a channel: use one of {', '.join(registry())}.") from None
