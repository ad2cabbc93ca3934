"""From the items of a queue to jobs that can be done; the others are rejected with their reason."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from messaging import jobs, payloads
from messaging.jobs import BadJob, Deliver, Expand
from messaging.payloads import Payload
from sprayer_project import amqp
from sprayer_project.worker import Item
from tenants import selectors as tenants

Decoded = tuple[Item, Deliver | Expand]


def decode(items: Sequence[Item], channel: str) -> tuple[list[Decoded], list[amqp.Publication]]:
    """What is a job of this channel; and jobs to be published again.

    Those that came together and come again go on apart: what failed may be one of them.
    """
    decoded, apart = [], []
    for item in items:
        try:
            found = jobs.decode(item.body)
        except BadJob as error:
            item.reject(error.code)
            continue
        for job in found:
            if item.redelivered and len(found) > 1:
                apart.append(amqp.Publication(amqp.JOBS, item.queue, jobs.encode(job)))
            elif job.channel == channel:
                decoded.append((item, job))
            else:
                item.reject("wrong_queue", jobs.encode(job))
    return decoded, apart


async def with_payloads(decoded: Sequence[Decoded]) -> list[tuple[Item, Deliver | Expand, Payload]]:
    """What has its message still."""
    by_tenant: dict[str, list[Decoded]] = defaultdict(list)
    for item, job in decoded:
        by_tenant[job.tenant].append((item, job))
    ready: list[tuple[Item, Deliver | Expand, Payload]] = []
    for tenant, found in by_tenant.items():
        exists = await tenants.atenant_exists(tenant)
        known = await payloads.load(tenant, sorted({job.message for _, job in found})) if exists else {}
        for item, job in found:
            payload = known.get(job.message)
            if payload is None:
                item.reject("message_deleted" if exists else "tenant_deleted", jobs.encode(job))
            else:
                ready.append((item, job, payload))
    return ready


def whom(job: Deliver | Expand) -> Iterator[Hashable]:
    """Whose order a job is in: its receivers', or its group's."""
    if isinstance(job, Expand):
        yield job.tenant, "group", job.group
    else:
        for target in job.targets:
            yield job.tenant, "receiver", target.receiver
