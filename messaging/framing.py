"""Pages that show a stranger's HTML in a frame, in which it can do nothing."""

from django.http import HttpResponse

from sprayer_project.csp import POLICY

# No script, nothing from outside, no form; its own styles may stay.
_HTML_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


def framed(html: str) -> HttpResponse:
    """The HTML itself, for the frame; its view needs xframe_options_sameorigin."""
    response = HttpResponse(html)
    response["Content-Security-Policy"] = _HTML_POLICY
    return response


def with_frames(response: HttpResponse) -> HttpResponse:
    """A page that may have frames of our own."""
    response["Content-Security-Policy"] = f"{POLICY}; frame-src 'self'"
    return response
