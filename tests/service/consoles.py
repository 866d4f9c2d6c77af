"""A console that is served, and a browser without a screen: cookies, forms, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from unittest.mock import patch
from urllib.parse import urlencode

from rexecop.app.build import open_instance
from rexecop.app.contract import Contract
from rexecop.app.door import Caller, ServiceRole, ServiceScope
from rexecop.app.identity import Identity
from rexecop.app.serving import Serving
from rexecop.app.settings import Settings, load_settings
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established
from rexecop.service.console.sessions import SignInLink
from rexecop.service.server import LOCAL_NAMES, listen, run, shown_address
from tests.service.doors import FixedDoor
from tests.service.running import Reply, Running, running


def a_caller(person: str, *roles: ServiceRole, scope: ServiceScope | None = None) -> Caller:
    """Return somebody with these roles, known by a token."""
    principal = Principal(person=person, established=Established.TOKEN, credential=f"token:{person}")
    return Caller(
        identity=Identity(principal=principal), roles=frozenset(roles), scope=scope or ServiceScope()
    )


TOKENS: Final[Mapping[str, Caller]] = {
    "alice-token": a_caller("alice", ServiceRole.OPERATOR),
    "bob-token": a_caller("bob", ServiceRole.APPROVER),
    "vera-token": a_caller("vera", ServiceRole.VIEWER),
    "adam-token": a_caller("adam", ServiceRole.ADMIN, ServiceRole.APPROVER),
    "otto-token": a_caller("otto", *ServiceRole, scope=ServiceScope(targets=("other-*",))),
    "sara-token": a_caller("sara", ServiceRole.OPERATOR, scope=ServiceScope(intents=("hello/host_facts",))),
}


class FickleDoor(FixedDoor):
    """Knows one more, an operator until the file `demoted` is in `folder`, and nobody once `gone` is."""

    def __init__(self, callers: Mapping[str, Caller], folder: Path) -> None:
        super().__init__(callers)
        self._folder = folder

    def caller(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        if headers.get("authorization") != "Bearer temp-token" or (self._folder / "gone").exists():
            return super().caller(headers, peer)
        demoted = (self._folder / "demoted").exists()
        return a_caller("temp", ServiceRole.VIEWER if demoted else ServiceRole.OPERATOR)


def serve_console(root: str) -> int:
    """Serve the root with a fixed door; the second line said is the key of the link."""
    folder = Path(root).parent
    flags = {"root": root, "profile": "hello", "env": str(Path(root) / "hello.environment.yaml")}
    settings = load_settings(flags, {}, folder, folder)
    listening = listen("127.0.0.1", 0)
    with Serving(open_instance(settings), door=FickleDoor(TOKENS, folder)) as serving:
        link = SignInLink(serving.now)
        sys.stderr.write(f"serving on http://{shown_address(listening)}\n{link.make()}\n")
        sys.stderr.flush()
        run(serving, listening, hosts=set(LOCAL_NAMES), link=link)
    return 0


@contextmanager
def console(root: Path, main: Callable[[str], int] = serve_console) -> Iterator[tuple[Running, str]]:
    """Serve the console of `root` and give its link's key."""
    with running(root, main) as found:
        yield found, found.process.stderr.readline().strip()


@dataclass(slots=True)
class Form:
    """A form of a page: where it goes and what is in it."""

    action: str = ""
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Read(HTMLParser):
    """A page as somebody reads it: tags, text, links, forms, and which fields have a label."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.forms: list[Form] = []
        self.labels: set[str] = set()
        self._area = ""
        self._select = ""
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        got = {name: value or "" for name, value in attrs}
        self.tags.append((tag, got))
        self.text += " "
        if tag == "form":
            self.forms.append(Form(action=got.get("action", ""), method=got.get("method", "get")))
        if tag == "label":
            self.labels.add(got.get("for", ""))
        if not self.forms or "name" not in got:
            return
        if tag == "input":
            self.forms[-1].fields[got["name"]] = got.get("value", "")
        if tag == "button":
            self.forms[-1].buttons.append((got["name"], got.get("value", "")))
        if tag == "textarea":
            self._area = got["name"]
            self.forms[-1].fields[self._area] = ""
        if tag == "select":
            self._select = got["name"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self._area = "" if tag == "textarea" else self._area
        self._select = "" if tag == "select" else self._select

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._area:
            self.forms[-1].fields[self._area] += data

    def form(self, action: str) -> Form:
        """Return the form that goes to `action`."""
        return next(one for one in self.forms if one.action == action)

    def has(self, tag: str, **wanted: str) -> bool:
        """Return whether there is such an element."""
        return any(name == tag and wanted.items() <= got.items() for name, got in self.tags)


@dataclass(slots=True)
class Visitor:
    """Somebody with a browser; `cookie` is what it was told to send."""

    at: Running
    cookie: str = ""
    said: Mapping[str, str] = field(default_factory=dict)  # By the proxy in front, with each request.

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.at.port}"

    def get(self, path: str) -> Reply:
        held = {"Cookie": self.cookie} if self.cookie else {}
        return self.at.call("GET", path, None, **self.said, **held)

    def read(self, path: str) -> Read:
        found = self.get(path)
        assert found.status == 200, (found.status, Read(found.body).text)
        return Read(found.body)

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Reply:
        sent = {
            "Origin": self.origin,
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": self.cookie,
            **self.said,
            **headers,
        }
        kept = {name: value for name, value in sent.items() if value}
        found = self.at.call("POST", path, urlencode(fields).encode(), **kept)
        if "set-cookie" in found.headers:
            self.cookie = found.headers["set-cookie"].split(";")[0]
        return found

    def submit(self, page: str, action: str, **fields: str) -> Reply:
        """Fill the form of `page` that goes to `action`, and send it."""
        form = self.read(page).form(action)
        return self.post(action, {**form.fields, **fields})


def signed_in(at: Running, token: str, home: str = "/console") -> Visitor:
    """Return somebody who signed in with `token` at the console that is at `home`."""
    visitor = Visitor(at)
    found = visitor.post(f"{home}/sign-in", {"secret": token})
    assert found.status == 303, found.body
    return visitor


def serve_as_typed(root: str, *flags: str) -> int:
    """Do what `rexecop serve` does, with a door that knows nobody."""
    from rexecop.cli.main import run as rexecop
    from rexecop.service import server

    def opened(settings: Settings, contract: Contract, *_: object, **__: object) -> Serving:
        return Serving(open_instance(settings), contract, FixedDoor({}))

    with patch.object(server, "open_serving", opened):
        return rexecop(("--root", root, "serve", "--port", "0", *flags))
