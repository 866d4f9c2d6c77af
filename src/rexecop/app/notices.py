"""Who is told how, as the root's `notify.yaml` has it, and the notices that were not taken.

    timeout: 10s                     # for one notice at all of its senders, 15 s at most
    console_url: https://ops.example # where the service's pages are: notices link to the operation's
    senders:
      pager: {command: [/usr/local/bin/page, --quiet]}
      chat: {webhook: https://chat.example/hooks/ops, secret: chat-signing}
      bus: {webhook: https://bus.example/in, secret: bus-signing, events: cloudevents, source: /ops}
      phone: {ntfy: https://ntfy.example/ops, token: ntfy-token}
      desk: {glpi: https://glpi.example/apirest.php, user_token: glpi-user}
      mail: {smtp: mail.example:587, from: rexecop@example, to: [sre@example], user: ops, password: mail}
    groups:
      oncall: [pager, chat]
      "*": [mail]                    # every group without a line of its own
    components:                      # who is told when a component turns
      oncall: {intents: [tecrax/daily_check], from: degraded}

Like the packs it is read from the root only, and by nobody who could not write it. A notice that a
sender does not take is kept in `notices/` until `rexecop notify retry` gets it through.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from rexecop.app.errors import NotifyRefused
from rexecop.app.files import read_file, replace_file, require_private
from rexecop.app.root import Root
from rexecop.app.views import CheckView
from rexecop.engines.senders import CommandSender, Given, MailSender, NtfySender, Sender, WebhookSender
from rexecop.engines.telling import TEST, Delivery, Notice
from rexecop.engines.tickets import TicketSender
from rexecop.lanes.addresses import is_address
from rexecop.lanes.secrets import Secrets
from rexecop.operations.ports import Clock, Ids
from rexecop.operations.reading import NAME, Fields, Node, Problems
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import RexecopError

__all__ = ["Delivery", "RootNotices", "Routes"]

TIMEOUT_MS: Final = 10_000
TIMEOUT_MS_MAX: Final = 15_000  # Half of a lease: whoever ends an operation holds one meanwhile.
SENDERS_MAX: Final = 16  # Of one group.
RECIPIENTS_MAX: Final = 32
UNDELIVERED_MAX: Final = 1000  # Files of a kilobyte; whoever lets more of them pile up reads none.
REASON_LENGTH_MAX: Final = 200
EVERYBODY: Final = "*"

INTENTS_MAX: Final = 256  # As many as a large profile has.
NOT_WELL: Final = ("unknown", "degraded", "unhealthy")  # Of a component, the worst last.

_INTENT: Final = re.compile(rf"{NAME.pattern}/{NAME.pattern}|\*")
_TENANT: Final = re.compile(r"/t/[a-z0-9][a-z0-9-]{0,62}\Z")
_GROUP: Final = re.compile(rf"{NAME.pattern}|\*")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}")
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_USER: Final = re.compile(r"[!-~]{1,128}")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SOURCE: Final = re.compile(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=-]{1,256}")  # A URI, without escapes.


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """`group` is told of components of `intents` (`profile/intent`, or all) that are `least` or worse."""

    group: str
    intents: tuple[str, ...]
    least: str

    def concerns(self, state: str) -> bool:
        """Return whether a component that is `state` is told of."""
        return state in NOT_WELL and NOT_WELL.index(state) >= NOT_WELL.index(self.least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """What the file says: senders by name, and for each group who tells it."""

    senders: Mapping[str, Sender]
    groups: Mapping[str, tuple[str, ...]]
    seconds: float
    watches: tuple[Watch, ...] = ()
    console: str | None = None

    def of(self, group: str) -> tuple[str, ...]:
        """Return the senders of `group`."""
        return self.groups.get(group, self.groups.get(EVERYBODY, ()))


class RootNotices:
    """The senders of one root; see `engines.telling.Notices`."""

    def __init__(
        self,
        root: Root,
        secrets: Secrets,
        clock: Clock,
        ids: Ids,
        environ: Mapping[str, str],
        instance: str,
    ) -> None:
        self._root = root
        self._secrets = secrets
        self._clock = clock
        self._ids = ids
        self._environ = environ
        self._source = f"urn:rexecop:{instance}"

    def routes(self) -> Routes:
        """Return what `notify.yaml` says; nothing where there is no such file.

        Raises:
            RootUnsafe: others could change the file. NotifyRefused: it is not what it should be.
        """
        path = self._root.notify
        if not path.exists() and not path.is_symlink():
            return Routes(senders={}, groups={}, seconds=0)
        require_private(path)
        problems = Problems(NotifyRefused.code)
        found = None
        if (top := problems.parse(read_file(path), path.name)) is not None:
            found = _routes(top, self._environ)
        for first in problems.findings[:1]:
            raise NotifyRefused(first.text(), file=path.name, line=first.line, field=first.field or None)
        assert found is not None
        return found

    def check(self) -> CheckView:
        """Return for `doctor` whether the file can be followed, and whether notices wait to be sent again.

        Raises:
            RootUnsafe, NotifyRefused, FileRefused: as `routes` and `undelivered`.
        """
        senders, left = len(self.routes().senders), len(self.undelivered())
        words = f"{senders} senders" + (
            f"; {left} notices were not taken: rexecop notify retry" if left else ""
        )
        return CheckView(name="notify", status="warning" if left else "ok", message=words)

    def tells(self, group: str) -> bool:
        """Return whether a sender is named for `group`; a file that cannot be followed names none."""
        try:
            return bool(self.routes().of(group))
        except RexecopError:
            return False

    def watches(self, intent: str) -> tuple[Watch, ...]:
        """Return who is told of components of `intent`; a file that cannot be followed names nobody."""
        try:
            found = self.routes().watches
        except RexecopError:
            return ()
        return tuple(one for one in found if {intent, EVERYBODY} & {*one.intents} and self.tells(one.group))

    async def tell(self, notice: Notice) -> tuple[Delivery, ...]:
        """See `Notices.tell`."""
        try:
            routes = self.routes()
        except RexecopError as error:
            return (Delivery(notice=notice, sender=self._root.notify.name, failed=_line(error)),)
        if routes.console is not None and notice.operation is not None:
            notice = replace(notice, link=f"{routes.console}/console/operations/{notice.operation}")
        named: dict[str, list[str]] = {}
        for group in notice.groups:
            for sender in routes.of(group):
                named.setdefault(sender, []).append(group)
        return await self._given(
            routes, {name: replace(notice, groups=tuple(of)) for name, of in named.items()}
        )

    async def test(self, sender: str | None) -> tuple[Delivery, ...]:
        """Send a notice that says it is a test, by `sender` or all of them; nothing is kept of it.

        Raises:
            RootUnsafe, NotifyRefused: as `routes`.
        """
        routes = self.routes()
        chosen = (sender,) if sender is not None else tuple(routes.senders)
        text, now = "a test; nothing happened and nothing is to be done", self._clock.now()
        notice = Notice(id=f"ntc_{self._ids.nonce()}", event=TEST, at=now, text=text, groups=())
        return tuple(await asyncio.gather(*(self._send(routes, name, notice) for name in chosen)))

    def undelivered(self) -> tuple[Delivery, ...]:
        """Return what no sender took yet, oldest first.

        Raises:
            RootUnsafe: others could write there. FileRefused: a file cannot be read.
        """
        if not self._root.undelivered.is_dir():
            return ()
        require_private(self._root.undelivered)
        files = sorted(self._root.undelivered.glob("*.json"))[:UNDELIVERED_MAX]
        found = (decode(Delivery, read_file(path)) for path in files)
        return tuple(sorted(found, key=lambda one: one.notice.at))

    async def retry(self) -> tuple[Delivery, ...]:
        """Send what was not taken once more, and return what became of it; what is taken is kept no longer.

        Raises:
            RootUnsafe, NotifyRefused, FileRefused: as `routes` and `undelivered`.
        """
        routes = self.routes()
        found: list[Delivery] = []
        for one in self.undelivered():
            found += await self._given(routes, {one.sender: one.notice}, one.tries + 1)
        return tuple(found)

    async def _given(
        self, routes: Routes, notices: Mapping[str, Notice], tries: int = 1
    ) -> tuple[Delivery, ...]:
        """Send at once to all, keep what is not taken, and forget what is."""
        sent = await asyncio.gather(*(self._send(routes, *one) for one in notices.items()))
        return tuple(self._kept(replace(one, tries=tries)) for one in sent)

    async def _send(self, routes: Routes, name: str, notice: Notice) -> Delivery:
        """Return what became of `notice` at the sender `name`."""
        failed: str | None = None
        sender, seconds = routes.senders.get(name), routes.seconds
        try:
            if sender is None:
                raise NotifyRefused(f"`notify.yaml` names no sender `{name:.60}`")
            async with asyncio.timeout(seconds), self._secrets.lease(sender.secrets) as values:
                now, source = self._clock.now(), self._source
                given = Given(now=now, seconds=seconds, values=values, source=source)
                await sender.send(notice, given)
        except TimeoutError:
            failed = f"not taken within {seconds:g} s"
        except (RexecopError, OSError, ValueError) as error:
            failed = _line(error)
        return Delivery(notice=notice, sender=name, failed=failed)

    def _kept(self, delivery: Delivery) -> Delivery:
        folder = self._root.undelivered
        path = folder / f"{delivery.notice.id}-{delivery.sender}.json"
        if delivery.failed is None:
            with suppress(OSError):  # Then it is sent again, under an id that was seen.
                path.unlink()
            return delivery
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            require_private(folder)
            if not path.exists() and sum(1 for _ in folder.iterdir()) >= UNDELIVERED_MAX:
                return replace(delivery, failed=f"{delivery.failed}; not kept, there are {UNDELIVERED_MAX}")
            replace_file(path, encode(delivery), mode=0o600)
        except (RexecopError, OSError) as error:
            return replace(delivery, failed=f"{delivery.failed}; not kept: {_line(error)}")
        return delivery


def _line(error: Exception) -> str:
    """Return one line of why."""
    return " ".join(str(error).split())[:REASON_LENGTH_MAX] or type(error).__name__


def _routes(top: Node, environ: Mapping[str, str]) -> Routes:
    fields = top.fields("timeout console_url senders groups components", "senders groups")
    wait = fields.maybe("timeout", Node.duration) or TIMEOUT_MS
    if wait > TIMEOUT_MS_MAX:
        top.refuse(f"`timeout` is more than {TIMEOUT_MS_MAX // 1000} s", allowed=f"{TIMEOUT_MS_MAX // 1000}s")
    console = fields.text("console_url")
    if console and not is_address(_TENANT.sub("", console)):
        allowed = "https://HOST[:PORT], and http:// on this machine; then /t/NAME of a tenant"
        top.refuse("`console_url` is no address of a service", allowed=allowed)
    senders = {name: _sender(node, environ) for name, node in fields.entries("senders", _REFERENCE)}
    groups = {name: node.tokens(SENDERS_MAX) for name, node in fields.entries("groups", _GROUP)}
    for group, named in groups.items():
        for name in named:
            if name not in senders:
                known = ", ".join(senders) or "none"
                words = f"`groups.{group}` names `{name}`, which is not under `senders`; known: {known}"
                top.refuse(words, found=name, allowed=known)
    watches = tuple(_watch(group, node) for group, node in fields.entries("components", _GROUP))
    return Routes(
        senders=senders, groups=groups, seconds=wait / 1000, watches=watches, console=console or None
    )


def _watch(group: str, node: Node) -> Watch:
    fields = node.fields("intents from", "intents")
    intents = fields.texts("intents", INTENTS_MAX)
    for intent in intents:
        if not _INTENT.fullmatch(intent):
            node.refuse(f"`{intent:.60}` is no intent", found=intent, allowed="PROFILE/INTENT, *")
    return Watch(group=group, intents=intents, least=fields.one_of("from", NOT_WELL, NOT_WELL[0]))


def _sender(node: Node, environ: Mapping[str, str]) -> Sender:
    value = node.value if isinstance(node.value, dict) else {}
    if "command" in value:
        argv = node.fields("command", "command").texts("command", 64)
        if not argv or not argv[0].startswith("/"):
            node.refuse(f"`{node.name}.command` begins with the path of a program", allowed="/PATH, words")
        return CommandSender(argv=argv, environ=environ)
    if "webhook" in value:
        fields = node.fields("webhook secret ca_file events source", "webhook secret")
        url = fields.text("webhook")
        if "source" in fields.values and "events" not in fields.values:
            node.refuse(f"`{node.name}.source` is of events", allowed="with `events: cloudevents`")
        return WebhookSender(
            url=url,
            host=_host(node, url),
            secret=_matching(node, fields.text("secret"), _REFERENCE),
            ca_file=_file(fields),
            events=bool(fields.one_of("events", ("cloudevents",), "")),
            source=_matching(node, fields.text("source"), _SOURCE),
        )
    if "ntfy" in value:
        fields = node.fields("ntfy token ca_file", "ntfy")
        url, token = fields.text("ntfy"), _matching(node, fields.text("token"), _REFERENCE)
        return NtfySender(url=url, host=_host(node, url, "ntfy"), token=token, ca_file=_file(fields))
    if "glpi" in value:
        fields = node.fields("glpi user_token app_token ca_file", "glpi user_token")
        url = fields.text("glpi")
        if "?" in url:
            node.refuse(f"`{node.name}.glpi` ends with a path", allowed="https://HOST/apirest.php")
        return TicketSender(
            url=url,
            host=_host(node, url, "glpi"),
            user_token=_matching(node, fields.text("user_token"), _REFERENCE),
            app_token=_matching(node, fields.text("app_token"), _REFERENCE),
            ca_file=_file(fields),
        )
    fields = node.fields("smtp tls from to user password ca_file", "smtp from to")
    tls = fields.one_of("tls", _PORTS, "starttls")
    host, _, port = fields.text("smtp").partition(":")
    plain = tls != "none" or is_address(f"http://{host}")
    if (
        not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", host)
        or not re.fullmatch(r"[1-9][0-9]{0,4}|", port)
        or not plain
    ):
        allowed = "HOST[:PORT]; without TLS a host of this machine"
        node.refuse(f"`{node.name}.smtp` is no server that is safe to use", allowed=allowed)
    if not fields.values.get("to"):
        node.refuse(f"`{node.name}.to` names nobody", allowed="[NAME@HOST, …]")
    if ("user" in fields.values) != ("password" in fields.values):
        node.refuse(f"`{node.name}` has one of `user` and `password`", allowed="both, or none")
    return MailSender(
        host=host,
        port=int(port or _PORTS[tls]),
        tls=tls,
        sender=_matching(node, fields.text("from"), _ADDRESS),
        to=tuple(_matching(node, one, _ADDRESS) for one in fields.texts("to", RECIPIENTS_MAX)),
        user=_matching(node, fields.text("user"), _USER),
        password=_matching(node, fields.text("password"), _REFERENCE),
        ca_file=_file(fields),
    )


def _matching(node: Node, text: str, pattern: re.Pattern[str]) -> str:
    if text and not pattern.fullmatch(text):  # Not repeated: it may be a secret in the wrong place.
        node.refuse(f"`{node.name}` holds what is not like `{pattern.pattern}`", allowed=pattern.pattern)
    return text


def _file(fields: Fields) -> str | None:
    path = fields.text("ca_file")
    if path and not path.startswith("/"):
        fields.node.refuse(f"`{fields.node.name}.ca_file` is an absolute path", allowed="/PATH")
    return path or None


def _host(node: Node, url: str, key: str = "webhook") -> str:
    """Return the host of `url`, for messages: a path may be what nobody else should know."""
    server = re.match(r"(https?://([^/?#]+))(?=[/?]|$)[!-~]*$", url)
    if server is None or "#" in url or not is_address(server[1]):
        node.refuse(f"`{node.name}.{key}` is no address", allowed="https://…, and http:// on this machine")
        return ""
    return server[2]
