"""How channels show a message to whoever writes it."""

import json
from collections.abc import Mapping
from typing import Any

from messaging.channels.base import Look
from sprayer_project import json_text


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def decoded(text: str) -> Any:
    """What JSON says; None for what is none."""
    try:
        return json_text.parse(text)
    except ValueError:
        return None


def reindented(text: str) -> str:
    """JSON for people, or the text itself where it is none."""
    found = decoded(text)
    return text if found is None else pretty(found)


def notification(payload: Mapping[str, Any], shown: Mapping[str, Any] | None = None) -> Look:
    """shown, where it is not the payload itself, has title, subtitle, body, image and actions, as far as there are.

    Without any of them the device shows nothing.
    """
    found = payload if shown is None else shown
    actions = found.get("actions")
    actions = actions if isinstance(actions, list) else []
    texts = {name: str(found.get(name) or "") for name in ("title", "subtitle", "body", "image")}
    return Look(
        shape="notification" if any(texts.values()) else "code",
        title=texts["title"],
        subtitle=texts["subtitle"],
        text=texts["body"],
        image=texts["image"],
        buttons=[str(action["title"]) for action in actions if isinstance(action, dict) and "title" in action],
        payload=pretty(payload),
    )
