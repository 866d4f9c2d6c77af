"""What stands before every page: our host, a session, the door, and for forms our Origin and their token."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rexecop.app.door import Act, Caller, Door, Matter
from rexecop.app.errors import NEEDED, CallerUnknown, Forbidden
from rexecop.app.instance import Instance
from rexecop.app.panel import is_in_the_way, matter_called
from rexecop.app.requests import note
from rexecop.app.serving import Serving
from rexecop.app.signing_in import AWAY_SECONDS, NOBODYS
from rexecop.app.working import Work
from rexecop.proof.errors import RexecopError
from rexecop.service.body import BodyRefused
from rexecop.service.console.forms import read_form
from rexecop.service.console.pages import Answer, Goto, Page, render, style
from rexecop.service.console.sessions import SESSION_HOURS, Session, Sessions, SignInLink
from rexecop.service.doorway import peer_of, unsaid

T = TypeVar("T")

BASE: Final = "/console"
SIGN_IN: Final = f"{BASE}/sign-in"
PROVIDER: Final = f"{SIGN_IN}/provider"  # Sends people to the identity provider, from where they come
SIGNED_IN: Final = f"{BASE}/signed-in"  # back to here.
AWAY: Final = "-away"  # The end of the name of the cookie of who is there.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not `no-referrer`: with that browsers say `Origin: null` even to us.
    "referrer-policy": "same-origin",
}
OURS: Final = re.compile(r"[A-Za-z0-9/_.?=&-]{0,300}")  # Behind where the console is.
KEY_MAX: Final = 64  # Of what names one form; ours are shorter.
HIDDEN: Final = "There is no such page, or it is none of your business."


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of somebody signed in; `instance` acts as them."""

    caller: Caller
    session: Session
    door: Door
    instance: Instance
    serving: Serving
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]

    def require(self, act: Act, matter: Matter | None = None) -> None:
        """Return only if the caller may. Raises Forbidden."""
        self.door.require(self.caller, act, matter)

    def may(self, act: Act, matter: Matter | None = None) -> bool:
        """Return whether the caller may."""
        try:
            self.require(act, matter)
        except Forbidden:
            return False
        return True

    def sees(self, matter: Matter) -> bool:
        """Return whether the caller may know of `matter`."""
        return self.may(Act.VIEW, matter)

    async def run(self, work: Work[T]) -> T:
        """Return what `work` on the instance returns, done where the service plans and drives."""
        return await self.serving.works.run(work)

    @property
    def operation(self) -> str:
        """The operation that the path names."""
        return self.path["id"]


Look: TypeAlias = Callable[[Visit], Answer]
Do: TypeAlias = Callable[[Visit], Coroutine[None, None, Answer]]


class Console:
    """The way in, and the way every page is asked for; where it is served, a request says."""

    def __init__(self, serving: Serving, door: Door, hosts: Collection[str] | None, link: SignInLink) -> None:
        self._serving = serving
        self._door = door
        self._hosts = None if hosts is None else frozenset(hosts)
        self._sessions = Sessions(serving.now)
        self._link = link

    def look(self, path: str, act: Act, work: Look) -> Route:
        """Return the route of a page at `path` for whoever may `act`; `work` runs in a thread."""

        async def answer(request: Request) -> Response:
            return await self._answered(request, self._signed_in(request, act, {}, work))

        return Route(BASE + path, self._guarded(answer), methods=["GET"], include_in_schema=False)

    def do(self, path: str, act: Act, work: Do, *, once: bool = False) -> Route:
        """Return the route of a form at `path` for whoever may `act`; `once`: however often it is sent."""

        async def answer(request: Request) -> Response:
            return await self._answered(request, self._sent(request, act, work, once=once))

        return Route(BASE + path, self._guarded(answer), methods=["POST"], include_in_schema=False)

    def ways_in(self) -> list[Route]:
        """Return the routes that need no session, and the way out."""
        return [
            Route(SIGN_IN, self._guarded(self._ask_in), methods=["GET"], include_in_schema=False),
            Route(SIGN_IN, self._guarded(self._let_in), methods=["POST"], include_in_schema=False),
            Route(PROVIDER, self._guarded(self._send_away), methods=["GET"], include_in_schema=False),
            Route(SIGNED_IN, self._guarded(self._take_back), methods=["GET"], include_in_schema=False),
            Route(
                f"{BASE}/sign-out", self._guarded(self._let_out), methods=["POST"], include_in_schema=False
            ),
            Route(
                f"{BASE}/console.css", self._guarded(self._style), methods=["GET"], include_in_schema=False
            ),
        ]

    def nowhere(self) -> Route:
        """Return the route of every page there is not."""

        async def answer(request: Request) -> Response:
            return self._failed(request, 404, HIDDEN, self._session(request))

        return Route(
            BASE + "/{rest:path}", self._guarded(answer), methods=["GET", "POST"], include_in_schema=False
        )

    # --- in and out ---

    async def _ask_in(self, request: Request) -> Response:
        return await self._asked_in(request, request.query_params)

    async def _asked_in(
        self, request: Request, given: Mapping[str, str], wrong: str = "", status: int = 200
    ) -> Response:
        """Return the page to sign in at, for who is to go to the `next` of what is `given`."""
        values = {
            "link": given.get("link", ""), "next": _ours(request, given.get("next", "")), "wrong": wrong,
            "spoken": await self._spoken_for(request),
            # At a tenant's the name of its provider would tell that there is one.
            "provider": self._serving.signing_in.title() if _home(request) == BASE else None,
        }  # fmt: skip
        return self._page(request, Page(template="sign_in.html", values=values, status=status))

    async def _let_in(self, request: Request) -> Response:
        await self._require_ours(request)
        form = await read_form(request)
        secret, next_ = form.get("secret", ""), _ours(request, form.get("next", ""))
        headers = {"authorization": f"Bearer {secret}"}
        try:
            if form.get("link"):
                key = self._sessions.open(self._link.use(form["link"]), {}, local=True)
            elif form.get("spoken"):
                key = self._sessions.open(await self._spoken(request, form["spoken"]), None)
            elif secret.isascii() and secret.isprintable() and secret:
                key = self._sessions.open(await self._known(request, headers), headers)
            else:
                raise CallerUnknown("a token is needed")
        except (CallerUnknown, Forbidden) as error:
            status = 429 if "seconds" in error.facts else 401
            return await self._asked_in(request, {"next": next_}, error.message, status)
        secure = request.headers["origin"].startswith("https:")
        return _with_session(request, key, self._goto(next_ or _home(request)), secure=secure)

    async def _send_away(self, request: Request) -> Response:
        """Send somebody to the identity provider, with a cookie by which this browser is known again."""
        given, next_ = request.query_params, _ours(request, request.query_params.get("next", ""))
        secure, back = _back(request)
        try:
            _require_provider(request)
            away = await self._serving.works.run(lambda: self._serving.signing_in.begin(back, next_))
        except RexecopError as error:
            status = 401 if isinstance(error, CallerUnknown) else 503
            return await self._asked_in(request, given, error.message, status)
        went, name = self._goto(away.url), _cookie(request)[0] + AWAY
        # Not `Strict`: whoever comes back comes from the provider's site.
        went.set_cookie(
            name, away.cookie, max_age=AWAY_SECONDS, path="/", secure=secure, httponly=True, samesite="lax"
        )
        return went

    async def _take_back(self, request: Request) -> Response:
        """Sign in who comes back from the identity provider."""
        given, name = dict(request.query_params), _cookie(request)[0] + AWAY
        cookie, (secure, back) = request.cookies.get(name, ""), _back(request)
        try:
            _require_provider(request)
            token, next_ = await self._serving.works.run(
                lambda: self._serving.signing_in.end(back, cookie, given)
            )
            headers = {"authorization": f"Bearer {token}"}
            key = self._sessions.open(await self._known(request, headers), headers)
        except RexecopError as error:
            status = 401 if isinstance(error, CallerUnknown | Forbidden) else 503
            answer = await self._asked_in(request, {}, error.message, status)
        else:
            # A redirection would still come from the provider's site, and without the cookie that is set.
            page = Page(template="signed_in.html", values={"next": _ours(request, next_) or BASE})
            answer = _with_session(request, key, self._page(request, page), secure=secure)
        answer.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
        return answer

    async def _known(self, request: Request, headers: Mapping[str, str]) -> Caller:
        """Return who comes with `headers`; raises as the door, but of a tenant just CallerUnknown."""
        try:
            await self._serving.knock(headers, peer_of(request.scope))
            return await asyncio.to_thread(self._door.caller, headers, peer_of(request.scope))
        except CallerUnknown:
            raise
        except RexecopError as error:
            if _home(request) == BASE:
                raise
            raise unsaid(request.scope["root_path"], error) from error

    async def _spoken(self, request: Request, name: str | None = None) -> Caller:
        """Return whom the proxy in front speaks for.

        Raises:
            CallerUnknown: nobody, it is not that proxy, or it is not who is called `name`.
        """
        found = await asyncio.to_thread(self._door.caller, _came(request), peer_of(request.scope))
        if name not in (None, found.name):
            raise CallerUnknown(NEEDED)
        return found

    async def _spoken_for(self, request: Request) -> str:
        """Return the name of whom the proxy in front speaks for, nothing where it does for nobody."""
        try:
            return (await self._spoken(request)).name
        except RexecopError:
            return ""

    async def _require_ours(self, request: Request) -> None:
        """Return only if a page of ours sends this.

        Raises:
            BodyRefused: another Origin, or none, which no browser leaves out.
        """
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if origin == f"{request.url.scheme}://{host}":
            return
        # Where TLS ends at the proxy in front, browsers know us by the same name, but under TLS.
        if origin != f"https://{host}" or not await self._spoken_for(request):
            raise BodyRefused(403, "A form of another site is refused.")

    async def _let_out(self, request: Request) -> Response:
        await self._require_ours(request)
        session, form = self._session(request), await read_form(request)
        if session is not None:
            _require_token(session, request, form)
            self._sessions.close(_key(request))
        went, (name, path) = self._goto(f"{_home(request)}/sign-in"), _cookie(request)
        went.delete_cookie(name, path=path, httponly=True, samesite="strict")
        return went

    async def _style(self, request: Request) -> Response:
        headers = {**HEADERS, "content-type": "text/css; charset=utf-8", "cache-control": "max-age=86400"}
        return Response(style()[0], 200, headers)

    # --- pages ---

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(_key(request))

    async def _answered(self, request: Request, coming: Awaitable[Response]) -> Response:
        try:
            return await coming
        except CallerUnknown:
            if request.method != "GET":
                return self._failed(request, 401, "You are not signed in, or no longer.")
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            further = f"?next={asked}" if _ours(request, asked) and "&" not in asked else ""
            return self._goto(f"{_home(request)}/sign-in{further}")

    async def _sent(self, request: Request, act: Act, work: Do, *, once: bool) -> Response:
        await self._require_ours(request)
        session = self._session(request)
        if session is None:
            raise CallerUnknown("nobody is signed in")
        form = await read_form(request)
        _require_token(session, request, form)
        await self._serving.knock(session.headers or {}, peer_of(request.scope))
        visit = await asyncio.to_thread(self._visit, request, act, form)
        if once and (key := form.get("form", "")[:KEY_MAX]):
            answer = await visit.session.once(f"{request.url.path} {key}", lambda: work(visit))
        else:
            answer = await work(visit)
        return await asyncio.to_thread(self._rendered, request, answer, visit.session)

    async def _signed_in(self, request: Request, act: Act, form: Mapping[str, str], work: Look) -> Response:
        session = self._session(request)
        if session is not None:
            await self._serving.knock(session.headers or {}, peer_of(request.scope))

        def looked() -> Response:
            visit = self._visit(request, act, form)
            return self._rendered(request, work(visit), visit.session)

        return await asyncio.to_thread(looked)

    def _visit(self, request: Request, act: Act, form: Mapping[str, str]) -> Visit:
        """Return the request as that of somebody who may `act`, on what the path names.

        Raises:
            CallerUnknown: nobody is signed in. Forbidden: they may not. OperationUnknown: there is none.
        """
        session = self._session(request)
        if session is None:
            raise CallerUnknown("nobody is signed in")
        caller = session.caller(self._door, _came(request), peer_of(request.scope))
        instance = self._serving.instance.acting_as(caller.identity)
        self._door.require(caller, act)
        if "id" in request.path_params:
            self._door.require(caller, act, matter_called(instance, request.path_params["id"]))
            note(operation=request.path_params["id"])
        return Visit(
            caller=caller,
            session=session,
            door=self._door,
            instance=instance,
            serving=self._serving,
            path=request.path_params,
            query=dict(request.query_params),
            form=form,
        )

    def _rendered(self, request: Request, answer: Answer, session: Session) -> Response:
        if isinstance(answer, Goto):
            return self._goto(_home(request) + answer.path)
        if isinstance(answer, Page):
            return self._page(request, answer, session)
        given = {"content-type": answer.media, "content-disposition": f'attachment; filename="{answer.name}"'}
        return Response(answer.data, 200, {**HEADERS, **given})

    def _page(self, request: Request, page: Page, session: Session | None = None) -> Response:
        token, person = (session.token, session.person) if session else (_no_token, None)
        body = render(page, _home(request), token, person, self._serving.now())
        return Response(body, page.status, {**HEADERS, "content-type": "text/html; charset=utf-8"})

    def _goto(self, path: str) -> Response:
        return Response(b"", 303, {**HEADERS, "location": path})

    def _failed(self, request: Request, status: int, words: str, session: Session | None = None) -> Response:
        # A form goes to a place below the page that it stands on.
        page_of = request.url.path.rpartition("/")[0] if request.method == "POST" and session else ""
        page = Page(template="failed.html", values={"words": words, "back": page_of}, status=status)
        return self._page(request, page, session)

    def _guarded(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return `endpoint`, whose every refusal is a page."""

        async def answer(request: Request) -> Response:
            if self._hosts is not None and _host(request) not in self._hosts:
                return self._failed(request, 421, "This address is not served under that name.")
            session = self._session(request)
            try:
                return await endpoint(request)
            except BodyRefused as error:
                return self._failed(request, error.status, str(error.detail), session)
            except RexecopError as error:
                return self._failed(request, _status(error), _words(error), session)
            except Exception as error:  # noqa: BLE001 - one request must not end the connection of others
                what = f"{request.url.path}: {type(error).__name__}"
                sys.stderr.write(f"rexecop: error[internal-error]: {what}\n")
                return self._failed(
                    request, 500, "Something is wrong here; whoever runs the service was told."
                )

        return answer


def _no_token(path: str) -> str:
    return ""


def _home(request: Request) -> str:
    """Return where the console is: below another path where several instances are served."""
    return f"{request.scope.get('root_path', '')}{BASE}"


def _cookie(request: Request) -> tuple[str, str]:
    """Return name and path of the cookie; under TLS browsers hold one of that name to TLS.

    That of the address itself is held to this host. One of a tenant is held to its console, and named
    otherwise: both are sent there.
    """
    home, secure = _home(request), request.url.scheme == "https"
    if home == BASE:
        return ("__Host-rexecop" if secure else "rexecop-console"), "/"
    return ("__Secure-rexecop-tenant" if secure else "rexecop-tenant"), home


def _with_session(request: Request, key: str, answer: Response, *, secure: bool) -> Response:
    """Return `answer`, with the cookie of the session of `key`."""
    name, path = _cookie(request)
    answer.set_cookie(
        name, key, max_age=SESSION_HOURS * 3600, path=path, secure=secure, httponly=True, samesite="strict"
    )
    return answer


def _back(request: Request) -> tuple[bool, str]:
    """Return whether it is under TLS, and where the identity provider sends people back to."""
    scheme, host = request.url.scheme, request.headers.get("host", "")
    return scheme == "https", f"{scheme}://{host}{SIGNED_IN}"


def _require_provider(request: Request) -> None:
    """Return only if it is asked for at the address itself. Raises CallerUnknown: a tenant takes tokens."""
    if _home(request) != BASE:
        raise CallerUnknown(NOBODYS)


def _came(request: Request) -> Headers:
    """Return the headers of `request` but for a token: who brings one there signs in with it."""
    return Headers(raw=[one for one in request.headers.raw if one[0] != b"authorization"])


def _key(request: Request) -> str:
    return request.cookies.get(_cookie(request)[0], "")


def _host(request: Request) -> str:
    host = request.headers.get("host", "").lower()
    return host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]


def _ours(request: Request, path: str) -> str:
    """Return `path` where it is a page of this very console, else nothing."""
    home = _home(request)
    ours = path.startswith(home) and OURS.fullmatch(path.removeprefix(home)) and ".." not in path
    return path if ours else ""


def _require_token(session: Session, request: Request, form: Mapping[str, str]) -> None:
    if not session.is_token(request.url.path, form.get("token", "")):
        raise BodyRefused(403, "The form is too old, or not one of ours; open the page again.")


def _status(error: RexecopError) -> int:
    if isinstance(error, Forbidden):
        return 404 if error.facts.get("hidden") else 403
    if error.code in ("operation-unknown", "not-offered"):
        return 404
    return 503 if is_in_the_way(error) or error.code == "access-unrecorded" else 409


def _words(error: RexecopError) -> str:
    """Return what a page says of `error`; of what is hidden just what is said of what does not exist."""
    if _status(error) == 404:
        return HIDDEN
    further = f" Next: {'; '.join(error.next_steps)}" if error.next_steps else ""
    return f"{error.message} ({error.code}).{further}"
