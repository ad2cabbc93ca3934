"""The sample's own server: the page, and the two calls that need the API key.

SPRAYER_API_KEY=... python serve.py     (SPRAYER_URL and PORT where they are not the defaults)
"""

import json
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote, urlsplit
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
SPRAYER = os.environ.get("SPRAYER_URL", "http://127.0.0.1:8000")


def sprayer(path: str, body: Any) -> tuple[int, bytes]:
    """Ask Sprayer's API; answers status and body."""
    headers = {"Authorization": f"Bearer {os.environ['SPRAYER_API_KEY']}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(f"{SPRAYER}/api/v1{path}", json.dumps(body).encode(), headers), timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path == "/config":
            self.answer(200, json.dumps({"url": SPRAYER}).encode())
        elif asked.path == "/token":
            # A real server knows from its session who asks, and gives nobody another one's token.
            receiver = parse_qs(asked.query)["receiver"][0]
            self.answer(*sprayer(f"/receivers/{quote(receiver, safe='')}/tokens", {"ttl": 3600}))
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/message":
            message = {"to": {"receivers": body["to"]}, "channels": ["websocket"], "content": {"body": body["text"]}}
            self.answer(*sprayer("/messages", message))
        else:
            self.send_error(404)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    print(f"http://localhost:{port}/?receiver=alice and http://localhost:{port}/?receiver=bob")
    ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(HERE))).serve_forever()
