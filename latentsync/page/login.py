"""A name and a password before anything is answered: HTTP Basic (RFC 7617), against a file of the operator's."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import secrets
import stat
import time
from collections import OrderedDict
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from latentsync.errors import ConfigError
from latentsync.page.visitors import address_of

MOST_FAILURES = 10  # wrong passwords for a name from one address in FAILURE_SECONDS; then none is looked at
FAILURE_SECONDS = 60.0
MOST_COUNTED = 10_000  # names and addresses whose failures are counted
CHALLENGE = {"WWW-Authenticate": 'Basic realm="LatentSync", charset="UTF-8"'}
SHORTEST_PASSWORD = 8
logger = logging.getLogger(__name__)


class Accounts:
    """Names and passwords; kept as keyed digests, and compared in a time that says nothing of them."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self._key = secrets.token_bytes(32)
        self._digests = {name: self._digest(password) for name, password in passwords.items()}
        self._nobody = self._digest(secrets.token_hex())

    @classmethod
    def read(cls, path: Path) -> Accounts:
        """Lines ``NAME:PASSWORD``; empty ones and those that begin with # count for nothing. Raises ``ConfigError``."""
        try:
            text = path.read_text(encoding="utf-8")
            shared = path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.",
                remedy="Give --auth a text file with lines NAME:PASSWORD.",
            ) from error
        if shared:
            logger.warning("%s holds passwords and can be read by others on this machine: chmod 600 %s", path, path)
        passwords = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, separator, password = line.partition(":")
            if not (separator and name and name not in passwords and len(password) >= SHORTEST_PASSWORD):
                raise ConfigError(
                    f"Line {number} of {path} is not NAME:PASSWORD.",
                    remedy=f"Write each name once, a colon, and a password of at least {SHORTEST_PASSWORD} characters.",
                )
            passwords[name] = password
        if not passwords:
            raise ConfigError(f"{path} holds no NAME:PASSWORD.", remedy="Write at least one line, NAME:PASSWORD.")
        return cls(passwords)

    def know(self, name: str, password: str) -> bool:
        """Whether this is somebody's password."""
        return hmac.compare_digest(self._digests.get(name, self._nobody), self._digest(password))

    def _digest(self, password: str) -> bytes:
        return hashlib.blake2b(password.encode(errors="surrogatepass"), key=self._key).digest()


class Login:
    """Answers 401 to everybody who does not send the name and password of an account, 429 to who tries too often.

    The name goes on as ``scope["user_name"]``.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts) -> None:
        self._app, self._accounts = app, accounts
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        name, password = _credentials(Headers(scope=scope).get("authorization", ""))
        if name is None:
            refusal = PlainTextResponse("A name and a password are needed.", 401, CHALLENGE)
        elif self._fails_too_often(who := f"{address_of(scope)} {name}"):
            refusal = PlainTextResponse("Too many wrong passwords; wait a minute.", 429)
        elif self._accounts.know(name, password):
            await self._app({**scope, "user_name": name}, receive, send)
            return
        else:
            self._failures.setdefault(who, []).append(time.monotonic())
            refusal = PlainTextResponse("That is not the password of that name.", 401, CHALLENGE)
        await refusal(scope, receive, send)

    def _fails_too_often(self, who: str) -> bool:
        recent = [t for t in self._failures.pop(who, []) if time.monotonic() - t < FAILURE_SECONDS]
        if recent:
            self._failures[who] = recent
        while len(self._failures) > MOST_COUNTED:
            self._failures.popitem(last=False)
        return len(recent) >= MOST_FAILURES


def user_of(request: Request) -> str | None:
    """Whose request it is, behind ``Login``."""
    name: str | None = request.scope.get("user_name")
    return name


def _credentials(header: str) -> tuple[str | None, str]:
    """Name and password of an Authorization header; no name where it has none that can be read."""
    scheme, _, value = header.partition(" ")
    try:
        name, separator, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None, ""
    return (name, password) if separator and scheme.lower() == "basic" else (None, "")
