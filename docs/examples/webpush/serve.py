"""The sample's own server: the page and its service worker, and the two calls that need the API key.

VAPID_KEY=... SPRAYER_API_KEY=... python serve.py     (SPRAYER_URL and PORT where they are not the defaults)
"""

import json
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
RECEIVER = "webpush-sample"


def sprayer(method: str, path: str, body: Any) -> tuple[int, bytes]:
    """Ask Sprayer's API; answers status and body."""
    url = os.environ.get("SPRAYER_URL", "http://127.0.0.1:8000") + "/api/v1" + path
    headers = {"Authorization": f"Bearer {os.environ['SPRAYER_API_KEY']}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(url, json.dumps(body).encode(), headers, method=method), timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/key":
            self.answer(200, os.environ["VAPID_KEY"].encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/subscription":
            addresses = [{"channel": "webpush", "address": body}]
            self.answer(*sprayer("PUT", f"/receivers/{RECEIVER}", {"addresses": addresses}))
        elif self.path == "/message":
            message = {"to": {"receivers": [RECEIVER]}, "channels": ["webpush"], "content": body}
            self.answer(*sprayer("POST", "/messages", message))
        else:
            self.send_error(404)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    print(f"http://localhost:{port}/")
    ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(HERE))).serve_forever()
