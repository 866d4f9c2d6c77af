"""Events over HTTP: signed as Standard Webhooks has it, of these minutes, and each taken once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from rexecop.app.errors import WebhookRefused
from rexecop.app.events import EventView, again, read_told, take_event
from rexecop.app.instance import Instance
from rexecop.app.root import Root
from rexecop.app.triggering import Inbox
from rexecop.app.unattended import judged_by, root_webhooks
from rexecop.engines.senders import signature, webhook_key
from rexecop.operations.errors import ClaimTaken, EventRefused, StoreError
from rexecop.operations.ports import Claim
from rexecop.proof.canonical import digest_of, same
from rexecop.proof.errors import RexecopError

TOLERANCE: Final = timedelta(minutes=5)  # As Standard Webhooks recommends.
ID_MAX: Final = 256
SIGNATURES_MAX: Final = 8  # Of one message: one for each key in use, in two versions.


async def take_webhook(instance: Instance, name: str, headers: Mapping[str, str], body: bytes) -> EventView:
    """Let the event in `body` be decided about, where the webhook `name` of the root lets it in.

    What is signed well and cannot be planned lies among the dead letters.

    Raises:
        WebhookRefused: nobody may send there, or this was not signed, is late, or was here before.
        EventRefused: it is no event. OperationsError: it cannot be planned.
        RootUnsafe, WebhooksRefused, RequestRefused, StoreError: it cannot be taken now.
    """
    root = instance.settings.root
    hook = root_webhooks(Root(root)).get(name)
    if hook is None or not hook.secrets:
        raise WebhookRefused(f"no webhook is called `{name:.60}` here", status=404)
    message = headers.get("webhook-id", "")
    async with instance.parts.secrets.lease(hook.secrets) as values:
        keys = [webhook_key(value) for value in values.values()]
        require_signed(headers, body, keys, instance.parts.world.clock.now())
    delivery = f"webhook:{name}:{message}"
    once = Claim(space="webhook", key=digest_of(delivery.encode()))
    profile, env, catalog = judged_by(root, hook)
    told = read_told(body, profile, env, catalog=catalog, start=hook.start)
    if told is None or (told.profile, told.env, told.catalog, told.start) != (
        profile,
        env,
        catalog,
        hook.start,
    ):
        raise EventRefused("a webhook takes one CloudEvent, as structured JSON", field="specversion")
    told, store = replace(told, delivery=delivery), instance.parts.world.store
    try:
        if store.claimed(once) is None:
            return await take_event(instance, told, (once,))
    except ClaimTaken:
        pass  # The same message came twice at once.
    except StoreError:
        raise
    except RexecopError as error:
        Inbox(instance).bury(f"webhook:{name}", told.letter, error)
        raise
    if (known := store.claimed(once)) is not None:
        again(instance, told, known)
    raise WebhookRefused(f"the message `{message:.60}` was here before", status=409)


def require_signed(headers: Mapping[str, str], body: bytes, keys: Iterable[bytes], now: datetime) -> None:
    """Return only if one of `keys` signed `body` under its id, some minutes ago at most.

    Raises:
        WebhookRefused: with what is wrong, and the status that answers it.
    """
    message, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split()
    if not 0 < len(message) <= ID_MAX or not message.isprintable() or not given:
        words = "`webhook-id`, `webhook-timestamp` and `webhook-signature` are needed"
        raise WebhookRefused(words, status=401)
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 12):
        raise WebhookRefused("`webhook-timestamp` is not in seconds since 1970", status=401)
    wanted = [signature(message, moment, body, key) for key in keys]
    if not any(same(one, other) for one in given[:SIGNATURES_MAX] for other in wanted):
        raise WebhookRefused("no signature is by a secret of this webhook", status=401)
    # Told only to who knows the secret.
    at = datetime.fromtimestamp(int(moment), UTC) if int(moment) < 4e9 else datetime.max.replace(tzinfo=UTC)
    if not now - TOLERANCE <= at <= now + TOLERANCE:
        words = f"`webhook-timestamp` is {at:%Y-%m-%dT%H:%M:%SZ}, over {TOLERANCE.seconds} s off the clock"
        raise WebhookRefused(words, status=401)
