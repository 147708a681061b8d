"""The host that everything is downloaded from: an nginx on loopback that serves media and the API.

It runs as the current user, from a folder of its own and with two workers, and ends with the `with` block.
Media are plain files behind several `Route`s: one answers at once, one after 40 ms, one limits the speed of
each connection, and one refuses a client with too many requests in flight. The API's pages are plain files
too, so that answering costs next to nothing. Lua scripts do the delays and the counting. The key is not
checked.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from benchmarks.errors import BenchmarkError

WORKERS = 2
_MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules")
_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
_START_S = 10.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Route:
    """A way to the media files: an answer's delay, a connection's speed, how many requests it takes."""

    name: str
    title: str
    delay_s: float = 0.0
    limit_rate: str = ""
    max_in_flight: int | None = None


INSTANT = Route("0ms", "without delay")
DELAYED = Route("40ms", "40 ms before each answer", delay_s=0.04)
LIMITED = Route("limited", "8 MiB/s on each connection", limit_rate="8m")
BUSY = Route("busy", "40 ms, and 429 above 8 requests at once", delay_s=0.04, max_in_flight=8)
ROUTES = (INSTANT, DELAYED, LIMITED, BUSY)


class Counts(msgspec.Struct, frozen=True):
    """Requests since the counts were last reset; requests for media count only on routes that refuse some."""

    api: int
    media: int
    refused: int
    peak: int


class Host:
    """A running nginx.

    Args:
        folder: an empty folder for its configuration and the API's pages.
        media: the folder of media files.

    Attributes:
        url: of the server, without a slash at the end.

    Raises:
        BenchmarkError: nginx or one of its modules is missing, or it does not start.
    """

    def __init__(self, folder: Path, media: Path) -> None:
        self._folder = folder
        self._media = media
        self._nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        if self._nginx is None:
            raise BenchmarkError("nginx is missing (Debian: nginx-light libnginx-mod-http-lua)")
        for name in ("api", "temporary"):
            (self._folder / name).mkdir(parents=True)
        try:
            for _ in range(_TRIES):
                if self._start(self._nginx):
                    return self
        except BaseException:  # also for Ctrl-C: nginx would go on running
            self._stop()
            raise
        raise BenchmarkError(f"nginx does not start:\n{self._errors()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def media_url(self, route: Route, path: str) -> str:
        """The URL of a media file on a route."""
        return f"{self.url}/{route.name}/{path}"

    def base_url(self, scene: str) -> str:
        """The base URL of an API whose pages lie in `api_folder(scene)`."""
        return f"{self.url}/scene/{scene}/api/v1"

    def api_folder(self, scene: str) -> Path:
        """The folder for the pages of the API called `scene`; see `account.write_pages`."""
        return self._folder / "api" / scene

    def counts(self) -> Counts:
        """The number of requests since the last reset."""
        return msgspec.json.decode(self._get("/stats"), type=Counts)

    def reset_counts(self) -> None:
        """Reset the counts to zero."""
        self._get("/stats/reset")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def _start(self, nginx: str) -> bool:
        """Start on a free port; False when another process took the port meanwhile."""
        port = _free_port()
        config = self._folder / "nginx.conf"
        config.write_text(_config(self._folder, self._media, port), encoding="utf-8")
        log = self._folder / "error.log"
        with log.open("wb") as stderr:
            command = [nginx, "-p", str(self._folder), "-c", str(config), "-e", str(log)]
            # In a session of its own, so that Ctrl-C does not end nginx before the contenders that read from
            # it.
            self._process = subprocess.Popen(command, stderr=stderr, start_new_session=True)
        self.url = f"http://127.0.0.1:{port}"
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s and self._process.poll() is None:
            try:
                self._get("/stats")
            except OSError:
                time.sleep(0.02)
            else:
                return True
        self._stop()
        if "Address already in use" in self._errors():
            return False
        raise BenchmarkError(f"nginx does not start:\n{self._errors()}")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _errors(self) -> str:
        return (self._folder / "error.log").read_text(encoding="utf-8", errors="replace")[-2000:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _module(name: str) -> str:
    for folder in _MODULE_FOLDERS:
        path = Path(folder, name)
        if path.exists():
            return str(path)
    raise BenchmarkError(f"nginx's {name} is missing (Debian: libnginx-mod-http-lua)")


def _config(folder: Path, media: Path, port: int) -> str:
    """The text of nginx.conf. Root's workers stay root: the folders are readable for their owner alone."""
    for path in (folder, media):
        if re.search(r"[\s\"'\\;{}$]", str(path)):
            raise BenchmarkError(f"nginx cannot be told of a folder with such a name: {path}")
    user = "user root;\n" if os.geteuid() == 0 else ""
    modules = "".join(f"load_module {_module(name)};\n" for name in _MODULES)
    routes = "".join(_location(route, media) for route in ROUTES)
    temporary = "".join(
        f"  {kind}_temp_path {folder}/temporary/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return user + modules + _TEMPLATE.format(
        folder=folder, port=port, routes=routes, temporary=temporary, workers=WORKERS
    )  # fmt: skip


def _location(route: Route, media: Path) -> str:
    lines = []
    if route.limit_rate:
        lines.append(f"limit_rate {route.limit_rate};")
    wait = f"ngx.sleep({route.delay_s})" if route.delay_s else ""
    if route.max_in_flight is not None:
        # A request is in flight from here until its last byte was handed to the kernel, also while it waits.
        lines.append(
            "access_by_lua_block {"
            ' local c = ngx.shared.counts; c:incr("media", 1, 0);'
            ' local n = c:incr("now", 1, 0);'
            f" if n > {route.max_in_flight} then"
            f' c:incr("now", -1); c:incr("refused", 1, 0); {wait}; return ngx.exit(429) end;'
            ' ngx.ctx.counts = true; if n > (c:get("peak") or 0) then c:set("peak", n) end;'
            f" {wait} }}"
        )
        lines.append('log_by_lua_block { if ngx.ctx.counts then ngx.shared.counts:incr("now", -1) end }')
    elif wait:
        lines.append(f"rewrite_by_lua_block {{ {wait} }}")
    body = "\n      ".join([*lines, f"alias {media}/;"])
    return f"    location ^~ /{route.name}/ {{\n      {body}\n    }}\n"


_TEMPLATE = """\
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  types {{ image/png png; video/mp4 mp4; application/json json; }}
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 10000000;
  keepalive_timeout 300s;
  lua_shared_dict counts 64k;
{temporary}
  # The key's whole history, or one project's. Pages have 100 runs whatever limit says.
  map $arg_project_id $scope {{ "" all; "~^(?<named>prj_[a-z0-9_]+)$" $named; default none; }}
  map $arg_status $list {{ "" completed; completed completed; default empty; }}
  map $arg_cursor $page {{ "" 0; "~^(?<number>[0-9]+)$" $number; default none; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
{routes}
    location ~ ^/scene/(?<scene>[a-z0-9-]+)/api/v1/(?<call>[a-z]+)$ {{
      root {folder}/api;
      add_header request-id req_$request_id always;
      log_by_lua_block {{ ngx.shared.counts:incr("api", 1, 0) }}
      default_type application/json;
      if ($call = generations) {{ rewrite ^ /$scene/$scope/$list/$page.json break; }}
      rewrite ^ /$scene/$call.json break;
    }}
    location ~ ^/scene/(?<scene>[a-z0-9-]+)/api/v1/technique-runs$ {{
      add_header request-id req_$request_id always;
      log_by_lua_block {{ ngx.shared.counts:incr("api", 1, 0) }}
      default_type application/json;
      return 200 '{{"technique_runs":[],"meta":{{"next_cursor":null}}}}';
    }}
    location ~ ^/scene/(?<scene>[a-z0-9-]+)/api/v1/projects/(?<project>prj_[a-z0-9_]+)$ {{
      add_header request-id req_$request_id always;
      log_by_lua_block {{ ngx.shared.counts:incr("api", 1, 0) }}
      default_type application/json;
      return 200 '{{"project_id":"$project","workspace_id":"ws_bench","name":"Project $project"}}';
    }}
    location ~ ^/scene/(?<scene>[a-z0-9-]+)/api/v1/runs/run_(?<number>[0-9]+)$ {{
      add_header request-id req_$request_id always;
      log_by_lua_block {{ ngx.shared.counts:incr("api", 1, 0) }}
      default_type application/json;
      # Every record is a line of its page, runs are numbered from the newest, and 100 make a page.
      content_by_lua_block {{
        local number = tonumber(ngx.var.number)
        local name = string.format("{folder}/api/%s/all/completed/%d.json", ngx.var.scene, number / 100)
        local file, line = io.open(name), nil
        if not file then return ngx.exit(404) end
        for _ = 0, number % 100 + 1 do line = file:read("*l") end
        file:close()
        if not line or line:sub(1, 1) ~= "{{" then return ngx.exit(404) end
        ngx.print((line:gsub(",$", "")))
      }}
    }}
    location = /stats {{
      content_by_lua_block {{
        local c = ngx.shared.counts
        local function n(name) return c:get(name) or 0 end
        ngx.print(string.format('{{"api": %d, "media": %d, "refused": %d, "peak": %d}}',
                                n("api"), n("media"), n("refused"), n("peak")))
      }}
    }}
    location = /stats/reset {{
      content_by_lua_block {{
        for _, name in ipairs({{"api", "media", "refused", "peak"}}) do ngx.shared.counts:set(name, 0) end
        ngx.print("{{}}")
      }}
    }}
  }}
}}
"""
