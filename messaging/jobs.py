"""Jobs: what travels on a channel's queues. Ids and hosts only, never an address, never a payload."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sprayer_project.amqp import Publication
from sprayer_project.errors import SprayerError

FEW_TARGETS = 10
"""A Deliver job of up to so many targets is one-to-one traffic."""
_TOGETHER, _BYTES = 50, 32 * 1024
"""Jobs that may travel as one, and bytes of theirs: about what a page has."""


class BadJob(SprayerError):
    """A job that can never be done; the code is the reason in the dead letters."""


@dataclass(frozen=True, slots=True)
class Target:
    """To whom: a receiver by name, or `addr:<hash>` for a plain address; address_hash narrows it to one address."""

    receiver: str
    address_hash: str | None = None


class Behind(NamedTuple):
    """The breaker that a job's deliveries wait for; in Unix seconds since when, and till when their record knows it."""

    host: str
    since: float
    till: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """Send one message on one channel to these targets."""

    tenant: str
    message: str
    mode: str
    channel: str
    targets: tuple[Target, ...]
    group: str | None = None
    round: int = 1
    attempt: int = 1
    due: float = 0
    """Unix seconds before which the attempt must not be made: the fixed retry delays add up to it."""
    behind: Behind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand:
    """Resolve the next pages of a group's subscribers on one channel: the second routing step."""

    tenant: str
    message: str
    mode: str
    channel: str
    group: str
    cursor: str | None = None
    """The last receiver name of the page before, None for the first page."""
    count: int = 0
    """Subscribers resolved by the pages before."""


Job = Deliver | Expand


def lane_of(targets: int, surplus: bool) -> str:
    """single: one-to-one traffic; surplus: what of it is beyond a tenant's share, or is left of a page; bulk: pages."""
    return "bulk" if targets > FEW_TARGETS else "surplus" if surplus else "single"


def encode(job: Job) -> bytes:
    body: dict[str, Any] = {
        "v": 1,
        "tenant": job.tenant,
        "message": job.message,
        "mode": job.mode,
        "channel": job.channel,
    }
    if isinstance(job, Deliver):
        targets = [
            [target.receiver, target.address_hash] if target.address_hash else [target.receiver]
            for target in job.targets
        ]
        body |= {
            "kind": "deliver",
            "targets": targets,
            "group": job.group,
            "round": job.round,
            "attempt": job.attempt,
            "due": job.due,
        }
        if job.behind:
            body["behind"] = job.behind
    else:
        body |= {"kind": "expand", "group": job.group, "cursor": job.cursor, "count": job.count}
    return json.dumps(body, separators=(",", ":")).encode()


def together(publications: Iterable[Publication]) -> list[Publication]:
    """The same jobs in fewer publications: those for one queue travel as one, up to a number and a size."""
    found: dict[tuple[str, str], list[list[bytes]]] = {}
    for item in publications:
        groups = found.setdefault((item.exchange, item.routing_key), [[]])
        if len(groups[-1]) >= _TOGETHER or sum(map(len, groups[-1])) + len(item.body) > _BYTES:
            groups.append([])
        groups[-1].append(item.body)
    return [
        Publication(
            *where, bodies[0] if len(bodies) == 1 else b'{"v":1,"kind":"several","jobs":[%b]}' % b",".join(bodies)
        )
        for where, groups in found.items()
        for bodies in groups
        if bodies
    ]


def decode(raw: bytes) -> list[Job]:
    """The jobs that travel as one. Raises BadJob for what neither encode nor together wrote."""
    try:
        body = json.loads(raw)
        return [_job(one) for one in (body["jobs"] if body["kind"] == "several" else [body])]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BadJob("undecodable", f"This is no job: {error}") from error


def _job(body: dict[str, Any]) -> Job:
    """Raises what decode takes for a bad job."""
    kind, version = body.pop("kind"), body.pop("v")
    if version != 1:
        raise ValueError(f"version {version!r}")
    if kind == "deliver":
        body["targets"] = tuple(Target(*target) for target in body["targets"])
        if "behind" in body:
            body["behind"] = Behind(*body["behind"])
        job: Job = Deliver(**body)
    elif kind == "expand":
        job = Expand(**body)
    else:
        raise ValueError(f"kind {kind!r}")
    _check(job)
    return job


def _check(job: Job) -> None:
    """What looks like a job and holds other types would fail its whole batch later. Raises ValueError, TypeError."""
    texts: list[str | None] = [job.tenant, job.message, job.mode, job.channel]
    if isinstance(job, Deliver):
        texts += [target.receiver for target in job.targets]
        optional = [job.group, *(target.address_hash for target in job.targets)]
        numbers = [job.round, job.attempt]
        times = [job.due]
        if job.behind:
            texts.append(job.behind.host)
            times += job.behind[1:]
        if not all(map(math.isfinite, times)):
            raise ValueError("a time is none")
    else:
        texts.append(job.group)
        optional, numbers = [job.cursor], [job.count]
    texts += [text for text in optional if text is not None]
    if not all(type(number) is int for number in numbers):
        raise TypeError("a number is not one")
    "".join(texts).encode()  # type: ignore[arg-type]  # TypeError for what is no text, ValueError for a lone surrogate
