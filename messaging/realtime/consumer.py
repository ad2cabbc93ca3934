"""The WebSocket at /api/v1/realtime: frames in, frames out. What happens between is the hub's."""

import asyncio
from functools import partial
from typing import Any

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from messaging.realtime import access, acks, frames, hub
from messaging.realtime.bucket import Bucket
from messaging.realtime.connection import Connection, Start, start_of
from messaging.realtime.frames import BadFrame
from messaging.realtime.message_frames import Frame
from messaging.realtime.refusals import Expired, Refused, Restarting, TooFast, TooMany, TooSlow, Unavailable
from messaging.realtime.tokens import Claims
from sprayer_project import flow
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

RESUME_GRACE = 0.3
"""Seconds for a client's resume frame to arrive; one that comes later as the first frame is still honoured."""


class RealtimeConsumer(AsyncWebsocketConsumer):
    """One client. It is accepted first: a refusal before would be a bare 403, without a reason."""

    def __init__(self) -> None:
        super().__init__()
        self.member: SocketMember | None = None
        self.over = False
        self._started = self._heard = False
        self._frames = Bucket(settings.REALTIME_FRAMES, 10 * settings.REALTIME_FRAMES)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        await self.accept()
        try:
            if hub.current().draining:
                raise Restarting
            claims = await access.claims(self.scope)
        except Refused as reason:
            await self.refuse(reason)
            return
        except STORE_ERRORS as error:
            await self._unavailable(error)
            return
        self.member = SocketMember(self, claims)
        try:
            hub.current().admit(self.member)
        except TooMany as reason:
            await self.refuse(reason)
            return
        self.after(claims.left, "expiry", partial(self.refuse, Expired()))
        self.after(RESUME_GRACE, "grace", self._start)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.over or self.member is None:
            return
        if not self._frames.take():
            await self.refuse(TooFast("Too many frames: acknowledge several messages with one."))
            return
        first, self._heard = not self._heard, True
        try:
            await self._handle(self.member, frames.decode(text_data), first)
        except BadFrame as error:
            await self.tell(frames.encode("error", code=error.code, detail=error.detail))
        except STORE_ERRORS as error:
            await self._unavailable(error)
        if not self._started:
            await self._start()

    async def disconnect(self, code: int) -> None:
        await self._leave()

    async def tell(self, frame: str) -> None:
        if not self.over:
            await self.send(text_data=frame)

    async def refuse(self, reason: Refused) -> None:
        """An error frame, then the end."""
        if self.over:
            return
        log.info("connection refused", code=reason.code, tenant=self.member.tenant if self.member else None)
        await self.tell(frames.encode("error", code=reason.code, detail=reason.detail))
        self.over = True
        await self.close(reason.close_code)
        await self._leave()

    def after(self, seconds: float, name: str, action: Any) -> None:
        """Call an async function later, unless cancel(name) comes first; at most one of a name is waiting."""
        self.cancel(name)
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, lambda: self._spawn(action()))

    def cancel(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()

    async def _handle(self, member: "SocketMember", body: dict[str, Any], first: bool) -> None:
        match body["type"]:
            case "resume" if first:
                epoch = body.get("epoch")
                if not isinstance(epoch, str):
                    raise BadFrame("bad_epoch", "epoch is a string: pass it unchanged as the welcome frame named it.")
                await self._start(epoch, frames.offset_of(body))
            case "resume":
                raise BadFrame("late_resume", "resume is the first frame of a connection or none.")
            case "ack":
                self._ack(member, frames.offset_of(body))
            case "read":
                offset = min(frames.offset_of(body), member.position.offset)
                acks.current().read(member.tenant, member.receiver, member.position.epoch, offset)
            case "ping":
                await self.tell(frames.encode("pong"))
            case kind:
                raise BadFrame("unknown_type", f"{kind[:40]!r} is no type of frame: use resume, ack, read or ping.")

    async def _start(self, epoch: str | None = None, offset: int | None = None) -> None:
        """Say welcome and let the hub send what follows; again for a resume that came after its grace."""
        member, again = self.member, self._started
        if member is None or self.over or (again and epoch is None):
            return
        self._started = True
        self.cancel("grace")
        try:
            view = await hub.current().look(member.tenant, member.receiver)
            await member.moved(start_of(view, epoch, offset))
            if again:
                hub.current().mark(member.tenant, [member.receiver])
            elif not self.over:
                try:
                    await hub.current().add(member)
                finally:
                    if self.over:
                        hub.current().remove(member)
        except Refused as reason:
            await self.refuse(reason)
        except STORE_ERRORS as error:
            await self._unavailable(error)

    def _ack(self, member: "SocketMember", offset: int) -> None:
        offset = min(offset, member.position.offset)
        member.acknowledged(offset)
        acks.current().add(member.tenant, member.receiver, member.position.epoch, offset)

    async def _unavailable(self, error: BaseException) -> None:
        log.warning("connection refused: waiting for a store", error=type(error).__name__)
        await self.refuse(Unavailable())

    async def _leave(self) -> None:
        self.over = True
        for name in list(self._timers):
            self.cancel(name)
        member, self.member = self.member, None
        if member is not None:
            hub.current().remove(member)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class SocketMember(Connection):
    """A WebSocket among the hub's connections."""

    transport = "websocket"

    def __init__(self, consumer: RealtimeConsumer, claims: Claims):
        super().__init__(claims.tenant, claims.receiver, settings.REALTIME_WINDOW, flow.watch(consumer.scope))
        self._consumer = consumer

    def deliver_now(self, offset: int, frame: Frame) -> bool:
        return self.flow.write(frame.wire)

    async def deliver(self, offset: int, frame: Frame) -> None:
        await self._consumer.tell(frame.text)

    async def moved(self, start: Start) -> None:
        self.place(start)
        await self._consumer.tell(frames.welcome(self.receiver, self.id, start))

    async def expel(self, reason: Refused) -> None:
        await self._consumer.refuse(reason)

    def too_slow(self) -> None:
        self._consumer.after(0, "slow", partial(self._consumer.refuse, TooSlow()))
