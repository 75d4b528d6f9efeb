"""A small OpenID provider on loopback: it knows one person, and can be told to misbehave."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "fabpilot", "not so secret"


class IdentityProvider:
    """What it says can be changed between two logins."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self.published = self.key
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {}
        self.issuer = ""
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []

    def authorize(self, address: str) -> str:
        """What a browser does there: it comes back with a code."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"/login/oidc/callback?code={code}&state={asked['state']}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """An ID token for a code, once, to who set out."""
        asked = self.codes.pop(form.get("code", ""), None)
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or authorization != f"Basic {expected}"
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "u-1", "aud": CLIENT, "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], "preferred_username": "Minji", "roles": ["fabpilot-engineer"],
            **self.claims,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            parts = [json.dumps(one).encode() for one in ({"alg": "none"}, claims)]
            signed = ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)
            signed += "."
        elif self.algorithm == "HS256":
            # The public key taken for a shared secret, as old libraries could be made to.
            key = OctKey.import_key(self.published.as_pem(private=False))
            signed = jwt.encode({"alg": "HS256", "kid": "one"}, claims, key)
        else:
            signed = jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": signed}


@contextmanager
def provider() -> Iterator[IdentityProvider]:
    """One that listens until the block ends."""
    there = IdentityProvider()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            there.asked.append(self.path)
            if self.path == "/keys":
                self._answer(200, {"keys": [there.published.as_dict(private=False)]})
            else:
                self._answer(200, {
                    "issuer": there.issuer,
                    "authorization_endpoint": f"{there.issuer}/authorize",
                    "token_endpoint": f"{there.issuer}/token",
                    "jwks_uri": f"{there.issuer}/keys",
                })  # fmt: skip

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(*there.token(form, self.headers.get("authorization", "")))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
