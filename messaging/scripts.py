"""Redis scripts: the files of messaging/lua."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from sprayer_project import redis


async def run(tenant: str, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
    """Run one of them on the tenant's shard; what it returns. Raises redis errors."""
    text, digest = _script(name)
    client: Any = redis.aclient(tenant)
    try:
        return await client.evalsha(digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(text, len(keys), *keys, *arguments)


@cache
def _script(name: str) -> tuple[str, str]:
    text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text()
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()
