"""Feedback webhooks: where a tenant wants to hear what becomes of its deliveries."""

from django.db import models
from django.utils import timezone

from sprayer_project.ids import new_id


def new_webhook_id() -> str:
    return new_id("whk")


class Webhook(models.Model):
    """One URL of a tenant and the events that it gets; what waits for it and what was sent are in MongoDB."""

    class Reason(models.TextChoices):
        OFF = "off", "turned off"
        GONE = "gone", "the endpoint answered 410"
        FAILING = "failing", "no attempt succeeded for days"

    id = models.CharField(primary_key=True, max_length=40, default=new_webhook_id, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", models.PROTECT, related_name="webhooks")
    mode = models.CharField(max_length=4)
    url = models.CharField(max_length=2048)
    events = models.JSONField(default=list)
    enabled = models.BooleanField(default=True)
    encrypted_values = models.TextField(help_text="secret, and during a rotation previous and previous_until")
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=10, choices=Reason.choices, blank=True)
    notice_at = models.DateTimeField(
        null=True, blank=True, help_text="When the members are to be told by mail that it was disabled."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey("tenants.User", models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-id"], name="webhook_by_tenant"),
            models.Index(fields=["notice_at"], name="webhook_with_notice", condition=models.Q(notice_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.id} of {self.tenant}"
