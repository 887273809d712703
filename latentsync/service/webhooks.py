"""Telling clients that their job has ended: signed, tried again, and to public addresses only.

That a message is due is written in the transaction that ends the job (``JobStore.finish``), so there is one for each
job, whatever is killed when; it is due until the other side has answered with 2xx, or ``PAUSES`` are used up. A process
that is killed between that answer and its note sends the message a second time: so does every such protocol, and the
header ``Webhook-Id`` tells receivers.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from latentsync.errors import LatentSyncError
from latentsync.service.errands import Errands
from latentsync.service.job import Job
from latentsync.service.outside import Outside, UnreachableError
from latentsync.service.store import DueWebhook, JobStore

PAUSES = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0, 12 * 3600.0)  # s, before each further attempt
ANSWER_SECONDS = 10.0
logger = logging.getLogger(__name__)


def webhook_secret(secret: bytes, key: str) -> str:
    """What the messages of a key are signed with: others for other keys."""
    return hmac.new(secret, f"webhook {key}".encode(), sha256).hexdigest()


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The header ``Sync-Signature``: HMAC-SHA256, hexadecimal, of the time in seconds, a full stop, and the body."""
    made = hmac.new(secret.encode(), b"%d." % timestamp + body, sha256).hexdigest()
    return f"t={timestamp},v1={made}"


def webhooks(
    store: JobStore, outside: Outside, secret: bytes, describe: Callable[[Job], Mapping[str, Any]]
) -> Errands[DueWebhook]:
    """Sends what is due; ``describe``: the body, as JSON has it."""

    def run(due: DueWebhook) -> None:
        job = due.job
        body = json.dumps(describe(job)).encode()
        try:
            _send(outside, job, body, webhook_secret(secret, job.key))
        except LatentSyncError as error:  # an address that is not allowed will not be later
            logger.warning("A webhook is given up: %s", error.message, extra={"job": job.id})
            store.webhook_sent(job.id, error=error.message)
        except UnreachableError as error:
            again = time.time() + PAUSES[due.attempts] if due.attempts < len(PAUSES) else None
            logger.warning("A webhook was not delivered: %s.", error, extra={"job": job.id})
            store.webhook_sent(job.id, error=str(error), due=again)
        else:
            store.webhook_sent(job.id)

    return Errands("webhooks", lambda: store.due_webhooks(time.time()), lambda due: due.job.id, run)


def _send(outside: Outside, job: Job, body: bytes, secret: str) -> None:
    headers = {
        "Content-Type": "application/json",
        "Sync-Signature": signature(secret, int(time.time()), body),
        "Webhook-Id": job.id,
    }
    url = job.request["webhookUrl"]
    with outside.request("POST", url, seconds=ANSWER_SECONDS, headers=headers, content=body) as answer:
        if not 200 <= answer.status < 300:
            raise UnreachableError(f"the other side answers with status {answer.status}")
