"""Local gateways that speak the providers' own wire formats.

Every module of this folder that is called as a channel holds that channel's `Gateway`; nothing else lists them.
"""

import importlib
import pkgutil

from messaging.channels import registry
from messaging.sandbox.base import Gateway, Surroundings


def gateways(surroundings: Surroundings) -> dict[str, Gateway]:
    """A new gateway for every channel that has one, by the channel's name."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    found = {}
    for channel in sorted(modules & set(registry())):
        loaded = importlib.import_module(f"{__name__}.{channel}")
        found[channel] = loaded.Gateway(channel, surroundings)
    return found
