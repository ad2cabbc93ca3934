"""nginx, the reference's server and a sink that costs little: one process, on loopback, with a folder of its own."""

import re
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from deploy.local.servers import HOST, Server, StackError, exchange
from tests.environment import free_port

_MODULES = (Path("/usr/lib/nginx/modules"), Path("/opt/homebrew/lib/nginx/modules"))
_CONFIGURATION = """\
{modules}
daemon off;
master_process off;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 15000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    server {{
        listen {host}:{port};
        location = /requests {{ stub_status; }}
{plain}
    }}
{servers}
}}
"""


class Nginx(Server):
    """plain: what its first server, over plain HTTP on .port, has besides /requests; servers: more of them.

    Both are nginx configuration, and so is what modules loads: names of files in nginx's folder of modules.
    """

    def __init__(self, folder: Path, plain: str, servers: str = "", modules: Sequence[str] = ()) -> None:
        super().__init__("nginx", folder, [free_port()])
        self._plain, self._servers, self._modules = plain, servers, modules
        self._asked = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        found = self.process()
        if found is None:
            raise StackError(f"nginx has ended; see {self.log}")
        return found.pid

    def command(self) -> list[str]:
        binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/usr/local/bin:/usr/bin")
        if binary is None:
            raise StackError("No nginx: install it (apt install nginx libnginx-mod-nchan, brew install nginx)")
        return [binary, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf"), "-e", str(self.log)]

    def prepare(self) -> None:
        super().prepare()
        text = _CONFIGURATION.format(
            folder=self.directory,
            host=HOST,
            port=self.port,
            plain=self._plain,
            servers=self._servers,
            modules="\n".join(f"load_module {_module(name)};" for name in self._modules),
        )
        (self.directory / "nginx.conf").write_text(text)

    def ready(self) -> bool:
        return exchange(self.port, b"GET /requests HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")

    def requests(self) -> int:
        """How many came, those of this function left out."""
        self._asked += 1
        with urllib.request.urlopen(f"{self.url}/requests", timeout=10) as response:
            found = re.search(rb"requests\s+\d+ \d+ (\d+)", response.read())
        if found is None:
            raise StackError("nginx does not tell how many requests came")
        return int(found[1]) - self._asked


def _module(name: str) -> Path:
    for folder in _MODULES:
        if (folder / name).exists():
            return folder / name
    raise StackError(f"No {name}: install nginx's module (apt install libnginx-mod-nchan)")
