"""Console pages that take receivers and subscriptions from files, and give them out as files."""

from pathlib import PurePath
from typing import Any, cast

from django import forms
from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat

from messaging import channels, errands, imports
from sprayer_project.errors import Invalid
from sprayer_project.streaming import attachment
from subscriptions import export, importing, selectors
from tenants import console
from tenants import services as tenants
from tenants.models import Membership

_SECTION = {"section": "receivers"}
_KINDS = ("import",)
_RECENT = 5


class ImportForm(forms.Form):
    file = forms.FileField(
        label="CSV or NDJSON file", help_text=f"In UTF-8, named .csv or .ndjson, at most {imports.MOST // 2**20} MB."
    )

    def clean_file(self) -> Any:
        file, size = self.cleaned_data["file"], self.cleaned_data["file"].size
        if size > imports.MOST:
            said = f"The file has {filesizeformat(size)}: import it with the command, or in parts."
            raise forms.ValidationError(said)
        if _kind(file.name) not in importing.FORMATS:
            raise forms.ValidationError("Name the file .csv or .ndjson, by what is in it.")
        return file


@console.page("receivers", methods=("GET", "HEAD", "POST"))
def index(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form, the newest imports, and what a file looks like."""
    tenant = member.tenant.slug
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if form.is_valid():
        file, errand = form.cleaned_data["file"], errands.new_errand_id()
        try:
            kept = imports.keep(tenant, errand, file.file, _kind(file.name))
        except Invalid as error:
            form.add_error("file", error.detail)
        else:
            arguments = {"file": file.name, "rows": kept.rows, "chunks": kept.chunks}
            errands.begin(tenant, "import", member.user.email, arguments, errand)
            _note(request, member, "receivers.imported", {"errand": errand, "rows": kept.rows})
            return redirect("console-import", tenant, errand)
    addressed = [name for name, channel in channels.registry().items() if channel.needs_address]
    context = {"form": form, "imports": errands.recent(tenant, _KINDS, _RECENT), "addressed": addressed}
    return console.show(request, member, "messaging/imports.html", _SECTION | context, 400 if form.errors else 200)


@console.page("receivers")
def upload(request: HttpRequest, member: Membership, upload: str) -> HttpResponse:
    """How far it is; the part that moves alone where htmx asks for it."""
    row = errands.one(member.tenant.slug, upload, _KINDS)
    template = "_import" if request.headers.get("HX-Request") else "import"
    return console.show(request, member, f"messaging/{template}.html", _SECTION | {"errand": row})


@console.page("receivers")
def report(request: HttpRequest, member: Membership, upload: str) -> HttpResponse:
    """The refused rows as a file."""
    row = errands.one(member.tenant.slug, upload, _KINDS)
    found = imports.report(row)
    return cast(HttpResponse, attachment(request, found, "text/csv; charset=utf-8", f"{row.id}-refused.csv"))


@console.page("receivers", methods=("POST",))
def stop(request: HttpRequest, member: Membership, upload: str) -> HttpResponse:
    """What was taken stays."""
    row = errands.one(member.tenant.slug, upload, _KINDS)
    errands.stop(member.tenant.slug, row.id)
    imports.forget(row.id)
    _note(request, member, "receivers.import_stopped", {"errand": row.id})
    notices.success(request, "It stops after the step that is under way.")
    return redirect("console-import", member.tenant.slug, row.id)


@console.page("receivers")
def receivers(request: HttpRequest, member: Membership, kind: str) -> HttpResponse:
    """The receivers whose names begin so, as a file, their addresses in full."""
    written, prefix = export.FORMATS[kind], request.GET.get("name", "")
    _note(request, member, "receivers.exported", {"format": kind})
    found = written.receivers(member.tenant.slug, prefix)
    return cast(HttpResponse, attachment(request, found, written.content_type, f"receivers.{kind}"))


@console.page("receivers")
def members(request: HttpRequest, member: Membership, kind: str, group: str) -> HttpResponse:
    """A group's members as a file."""
    row, written = selectors.group(member.tenant.slug, group), export.FORMATS[kind]
    _note(request, member, "group.exported", {"group": group, "format": kind})
    found = written.members(member.tenant.slug, row.name)
    return cast(HttpResponse, attachment(request, found, written.content_type, f"members.{kind}"))


def _kind(name: str) -> str:
    return PurePath(name).suffix.lower().removeprefix(".")


def _note(request: HttpRequest, member: Membership, action: str, detail: dict[str, object]) -> None:
    tenants.audit(member.tenant, member.user, action, "", detail, console.ip_of(request))
