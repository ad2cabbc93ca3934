"""The call of the API that does what a form does, in the languages that people paste from."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Snippet:
    """A program or command; it reads the key from the environment, so that it can be shown and kept."""

    name: str
    label: str
    text: str


def snippets(url: str, body: Mapping[str, Any]) -> list[Snippet]:
    """How to POST this body to this URL."""
    return [
        Snippet("curl", "curl", _curl(url, body)),
        Snippet("python", "Python", _python(url, body)),
        Snippet("javascript", "JavaScript", _javascript(url, body)),
    ]


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def _literal(value: Any, before: str = "") -> str:
    """JSON as Python writes it, one item a line."""
    inner = before + "    "
    if isinstance(value, Mapping) and value:
        items = [f"{_text(name)}: {_literal(item, inner)}" for name, item in value.items()]
        opened, closed = "{", "}"
    elif isinstance(value, list) and value:
        items, opened, closed = [_literal(item, inner) for item in value], "[", "]"
    else:
        return _text(value) if isinstance(value, str) else repr(value)
    return "\n".join((opened, *(f"{inner}{item}," for item in items), before + closed))


def _text(value: str) -> str:
    """A JSON string is one of Python's, too, unless it holds half a surrogate pair."""
    return json.dumps(value, ensure_ascii=False)


def _curl(url: str, body: Mapping[str, Any]) -> str:
    return "\n".join(
        (
            f"curl -X POST {shlex.quote(url)} \\",
            '  -H "Authorization: Bearer $API_KEY" \\',
            '  -H "Idempotency-Key: $(uuidgen)" \\',
            '  -H "Content-Type: application/json" \\',
            f"  -d {shlex.quote(_json(body))}",
        )
    )


def _python(url: str, body: Mapping[str, Any]) -> str:
    return f"""import os
import uuid

import requests

message = {_literal(body)}
answer = requests.post(
    {_text(url)},
    json=message,
    headers={{
        "Authorization": f"Bearer {{os.environ['API_KEY']}}",
        "Idempotency-Key": str(uuid.uuid4()),
    }},
    timeout=10,
)
answer.raise_for_status()
print(answer.json()["id"])"""


def _javascript(url: str, body: Mapping[str, Any]) -> str:
    return f"""const message = {_json(body)};
const answer = await fetch({json.dumps(url)}, {{
  method: "POST",
  headers: {{
    "Authorization": `Bearer ${{process.env.API_KEY}}`,
    "Idempotency-Key": crypto.randomUUID(),
    "Content-Type": "application/json",
  }},
  body: JSON.stringify(message),
}});
if (!answer.ok) throw new Error(await answer.text());
console.log((await answer.json()).id);"""
