"""Tenants, their people, keys, channel configurations and audit log: what lives in SQL."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from sprayer_project.ids import new_id

MOST_RETENTION = 3650
"""Days of a retention that ends: ten years."""
SLUG_PATTERN = r"^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]\Z"

one_line = RegexValidator(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029]", "One line, without control characters.", inverse_match=True
)
"""What a name has to be, because it comes into the subjects of mails."""


class UserManager(BaseUserManager["User"]):
    """E-mail addresses are kept in lower case: two spellings are one person."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Without a password the user cannot log in until one is set."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person who logs in to the console; belongs to tenants through memberships."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True, validators=[one_line])
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField("operator", default=False, help_text="May use the operators' pages.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def clean(self) -> None:
        self.email = self.email.strip().lower()

    def __str__(self) -> str:
        return self.email


class Tenant(models.Model):
    """An organisation. Outside this package a tenant is its slug, which therefore never changes and is never reused."""

    slug = models.CharField(
        max_length=40,
        unique=True,
        validators=[
            RegexValidator(
                SLUG_PATTERN, "2 to 40 lower-case letters, digits and hyphens; a letter or digit at both ends."
            )
        ],
    )
    name = models.CharField(max_length=200, validators=[one_line])
    is_active = models.BooleanField(
        default=True, help_text="An inactive tenant's keys are refused and nothing is sent."
    )
    rate_limit = models.CharField(
        max_length=40, blank=True, help_text="Requests for each of live and test, as 6000/minute; empty: the default."
    )
    retention_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MOST_RETENTION)],
        help_text="Days that messages and deliveries are kept after their end; 0: for ever, empty: the default.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when everything of it is being removed."
    )
    removed_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When nothing was left.")
    look_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the sweeper looks for what is left."
    )

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises ValueError when the slug of a stored tenant was changed."""
        if not self._state.adding and Tenant.objects.filter(pk=self.pk).exclude(slug=self.slug).exists():
            raise ValueError("a tenant's slug never changes")
        super().save(*args, **kwargs)

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """A user's role in a tenant."""

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        DEVELOPER = "developer"
        VIEWER = "viewer"

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="one_membership_a_tenant_and_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}: {self.role}"


def new_invitation_id() -> str:
    return new_id("inv")


class Invitation(models.Model):
    """A mailbox whose owner may join a tenant; gone once it was accepted or taken back."""

    id = models.CharField(primary_key=True, max_length=40, default=new_invitation_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Membership.Role.choices)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "email"], name="one_invitation_a_tenant_and_email")]

    def __str__(self) -> str:
        return f"{self.email} to {self.tenant}: {self.role}"


def new_key_id() -> str:
    return new_id("key")


class ApiKey(models.Model):
    """A tenant's key, hashed. The plain key exists only in the answer that created it."""

    class Mode(models.TextChoices):
        LIVE = "live"
        TEST = "test"

    id = models.CharField(primary_key=True, max_length=40, default=new_key_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=100, blank=True)
    mode = models.CharField(max_length=4, choices=Mode.choices)
    prefix = models.CharField(max_length=24)
    hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")

    def state(self, now: datetime | None = None) -> str:
        """active, revoked or expired"""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= (now or timezone.now()):
            return "expired"
        return "active"

    def __str__(self) -> str:
        return f"{self.prefix}…"


class ChannelConfig(models.Model):
    """A tenant's credentials for one channel, encrypted at rest."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="channel_configs")
    channel = models.CharField(max_length=40)
    enabled = models.BooleanField(default=True)
    provider = models.CharField(max_length=40, blank=True)
    encrypted_values = models.TextField()
    refused_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when the provider refuses these credentials."
    )
    refused_words = models.CharField(max_length=200, blank=True)
    updated_at = models.DateTimeField(auto_now=True)
    updated_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "channel"], name="one_config_a_tenant_and_channel")]

    def __str__(self) -> str:
        return f"{self.channel} of {self.tenant}"


class AuditEntry(models.Model):
    """Who did what to a tenant, when and from where. Written once; never a secret."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="audit_entries")
    at = models.DateTimeField(default=timezone.now, editable=False)
    by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    by_email = models.CharField(max_length=254, blank=True)
    by_key = models.CharField(max_length=40, blank=True)
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True)
    detail = models.JSONField(default=dict, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["tenant", "-at"], name="audit_by_tenant_and_time")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.action} {self.target}"
