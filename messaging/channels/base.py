"""What a channel is: one file in this folder with one subclass of Channel, called as the file is.

The file's name is the channel's name, its queue, its URL part, its field in the API and its page in the console.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from rest_framework import serializers

from feedback.events import DeliveryEvent, Status
from sprayer_project.errors import SprayerError
from sprayer_project.facts import fact

OPTED_OUT = "opted_out"
"""The reason of an outcome, and then of its retired address, where the person does not want to be written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message as an adapter sees it."""

    tenant: str
    id: str
    mode: str
    """live or test; a test message's provider calls go to the sandbox"""
    content: Mapping[str, Any]
    """{"type", "title", "body", "data"}, each may be missing"""
    overrides: Mapping[str, Any]
    """What the message says for this channel alone, validated by the channel's Content."""
    metadata: Mapping[str, str]
    attributes: Mapping[str, Any]
    priority: str
    """normal or high"""
    collapse_key: str | None
    created_at: datetime
    expires_at: datetime
    exclude_connection: str | None = None
    """The realtime connection that does not get it."""
    given_up: "Callable[[Recipient], bool]" = lambda recipient: False
    """Whether a recipient is not to be tried any more, because its host began to fail: asked when its turn comes."""


@fact
class Recipient:
    """One delivery to make."""

    delivery: str
    receiver: str
    address: str
    """Canonical, as clean_address returned it; empty on a channel that needs none."""
    address_hash: str
    round: int
    attempt: int
    group: str | None = None


@fact
class Outcome:
    """What became of one recipient in one attempt."""

    delivery: str
    status: Status
    """sent or delivered; failed (permanent); deferred (try again); suppressed (must not be sent); queued (given up)"""
    reason: str = ""
    """Our word for it, snake_case: invalid_address, unregistered, rate_limited, provider_unavailable, timeout ..."""
    provider: str = ""
    provider_id: str = ""
    retry_after: float | None = None
    """Seconds that the provider asked us to wait, with deferred."""
    unknown: bool = False
    """With deferred: the request left and no answer came: the provider may have carried it out."""
    retire: bool = False
    """The provider calls the address dead, or its owner opted out: do not use it again until it is registered anew.

    Test outcomes never retire.
    """
    dead_since: datetime | None = None
    """With retire, where the provider says it: an address that was registered later is not meant. None: by now."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """The provider's answer, bounded and without addresses: {"http_status": 400, "code": 21211, "message": "..."}"""
    keeper: str = ""
    """With sent where sent_waits: which memory holds it, see DeliveryEvent.keeper."""


class DeliveryError(SprayerError):
    """A whole call failed: every recipient that has no outcome yet shares it."""

    def __init__(
        self,
        reason: str,
        permanent: bool = False,
        retry_after: float | None = None,
        detail: str = "",
        unknown: bool = False,
    ):
        super().__init__(reason, detail or reason, (), retry_after)
        self.reason, self.permanent, self.unknown = reason, permanent, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a message looks like where it arrives, for whoever writes it; what is empty is not there."""

    shape: str
    """text, notification, mail or code: templates/messaging/looks/<shape>.html draws it."""
    title: str = ""
    subtitle: str = ""
    text: str = ""
    html: str = ""
    image: str = ""
    """A URL, which is shown and not fetched."""
    buttons: Sequence[str] = ()
    payload: str = ""
    """What travels to the provider, the device or the endpoint, as JSON for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A provider's HTTP call to us, independent of the web framework."""

    tenant: str
    provider: str
    """The last part of the callback path."""
    method: str
    url: str
    """As the provider called it, with the public host and the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class BadSignature(SprayerError):
    """403: a callback whose signature does not hold."""

    status = 403


class NoConfig(forms.Form):
    """A channel without credentials."""


class NoContent(serializers.Serializer[Any]):
    """A channel without fields of its own."""


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Seconds before attempt 2, 3 ...: after the last the delivery fails as a dead letter."""

    delays: tuple[float, ...] = (5, 30, 120, 600, 3600)
    jitter: float = 0.1


class Channel(ABC):
    """A medium. One instance a process, made by the registry."""

    name: ClassVar[str]
    """Set by the registry from the file's name."""
    label: ClassVar[str]
    settles_at: ClassVar[Status]
    """The best status that this channel's providers give evidence for without anyone's extra set-up."""
    needs_address: ClassVar[bool] = True
    address_kind: ClassVar[str] = "address"
    """What an address is on this channel, for people: phone number, mailbox, URL ..."""
    address_is_device: ClassVar[bool] = False
    """Whether an address is one device, which is one receiver's at a time: the last to register it has it alone."""
    Config: ClassVar[type[forms.Form]] = NoConfig
    """The tenant's credentials, as a form: its page in the console, and what configure_channel asks.

    A secret is a field whose widget is a forms.PasswordInput, or messaging.secret_fields.SecretText for one of several
    lines: it is never shown again. A field called provider says who carries the channel, where there is a choice.
    Cleaned values are JSON-able and valid again. Provider base URLs are operator settings, never here.
    """
    Content: ClassVar[type[serializers.Serializer[Any]]] = NoContent
    retry: ClassVar[RetrySchedule] = RetrySchedule()
    repeat_unknown: ClassVar[bool] = True
    """Whether an unknown outcome is tried again: where the provider deduplicates or a repeat is harmless."""
    sent_waits: ClassVar[bool] = False
    """Whether sent means that the message waits at our place for the receiver to fetch it, so that it can expire."""
    ordered: ClassVar[bool] = False
    """Whether one process sends a receiver's messages in the order of their jobs: a slow one holds up those behind."""
    providers: ClassVar[tuple[str, ...]] = ()
    """The names that its callback path accepts; empty where nobody calls back."""
    retires: ClassVar[frozenset[str]] = frozenset()
    """Reasons of failed and bounced events of callbacks, and facts, after which the address must not be used."""
    lasting: ClassVar[frozenset[str]] = frozenset()
    """Those among the reasons of a retired address that stay when the address is named again: a person's own word."""

    @abstractmethod
    def clean_address(self, value: Any) -> str:
        """The canonical text of an address. Raises ValueError with a sentence that says what to change."""

    @abstractmethod
    def mask_address(self, address: str) -> str:
        """The address as people may see it."""

    @abstractmethod
    def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        """Try each recipient once; yield each outcome as it comes. Raises DeliveryError when a whole call failed.

        config is the cleaned Config of the tenant, or sandbox_config for a test message.
        """

    async def check(self, config: Mapping[str, Any]) -> None:  # noqa: B027  (not every provider can be asked)
        """Ask the provider whether it takes these credentials, without sending anything to anybody.

        config is a cleaned Config that is about to be stored for live messages. Raises DeliveryError: permanent where
        the provider refuses it, with its words; otherwise nobody could say. The caller bounds the time.
        """

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        """Credentials that the sandbox gateway accepts for this tenant: test messages need no configuration."""
        return {}

    def sandbox_address(self, name: str) -> Any:
        """An address at the sandbox gateway that always succeeds; name keeps several apart."""
        return None

    @abstractmethod
    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        """What a message would be on this channel, computed here alone: JSON-able sizes, and what costs.

        payload_bytes is there where the channel has one payload for all, and limit, in bytes, where the provider has
        one. Raises DeliveryError for what send would refuse before anything leaves.
        """

    @abstractmethod
    def look(self, message: Outgoing) -> Look:
        """What people, or a program, get to see of a message on this channel. Raises DeliveryError as preview does."""

    def host_of(self, recipient: Recipient) -> str | None:
        """Whose failures are counted together: the host of the address, empty where one provider takes all.

        None: nothing outside is called.
        """
        return "" if self.needs_address else None

    def parse_events(self, callback: Callback, config: Mapping[str, Any]) -> list[DeliveryEvent]:
        """The facts in a provider's callback, its signature verified. Raises BadSignature, Invalid."""
        return []

    def put_back(self, limit: int) -> int:
        """Where sent_waits: put what a lost memory held into the present one, at most `limit` deliveries.

        The sweeper calls it again and again, in a thread; returns how many were lost. Raises the stores' errors.
        """
        return 0

    async def aclose(self) -> None:  # noqa: B027  (most channels hold no connection)
        """Give back connections; the process ends."""
