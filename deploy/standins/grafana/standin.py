"""Answers as Grafana would where check-compose asks: its health and the dashboards it was given."""

import base64
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DASHBOARDS = Path("/etc/grafana/dashboards")
PASSWORD = Path(os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"]).read_text().strip()
TOKEN = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


class Handler(BaseHTTPRequestHandler):
    """Two addresses."""

    def do_GET(self) -> None:
        """Health for everybody, dashboards for the administrator."""
        if self.path == "/api/health":
            self._answer(200, {"database": "ok", "version": "stand-in"})
        elif self.headers.get("authorization") != TOKEN:
            self._answer(401, {"message": "Unauthorized"})
        elif self.path.startswith("/api/search"):
            boards = [json.loads(file.read_text()) for file in sorted(DASHBOARDS.glob("*.json"))]
            self._answer(200, [{"uid": b["uid"], "title": b["title"]} for b in boards])
        else:
            self._answer(404, {"message": "this is a stand-in"})

    def _answer(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("0.0.0.0", 3000), Handler).serve_forever()
