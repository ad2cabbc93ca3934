"""Local gateways that speak the providers' own wire formats.

Every module of this folder that is called as a channel holds that channel's `Gateway`; nothing else lists them.
"""

import importlib
import pkgutil

from messaging.channels import registry
from messaging.sandbox.base import Gateway, Surroundings


def declared() -> dict[str, type[Gateway]]:
    """Every channel's gateway, by the channel's name."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    found = {}
    for channel in sorted(modules & set(registry())):
        gateway: type[Gateway] = importlib.import_module(f"{__name__}.{channel}").Gateway
        found[channel] = gateway
    return found


def gateways(surroundings: Surroundings) -> dict[str, Gateway]:
    """A new gateway for every channel that has one."""
    return {channel: gateway(channel, surroundings) for channel, gateway in declared().items()}
