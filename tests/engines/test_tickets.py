"""Tickets of a stand-in for GLPI that answers as its documentation of `apirest.php` says."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlsplit

import pytest

from rexecop.engines.telling import Notice
from rexecop.engines.tickets import TicketSender
from tests.engines.test_senders import NOTICE, SECRETS, send, sent
from tests.lanes.web import Asked, Web, json_reply, reply, serving

USER, APP = "mail", "signing"  # Secrets that the tests of the other senders have, too.


@dataclass
class Glpi:
    """Sessions and tickets, as far as a sender touches them."""

    web: Web
    tickets: list[dict[str, str]] = field(default_factory=list)
    sessions: int = 0

    def answer(self, asked: Asked) -> bytes:
        parts = urlsplit(asked.target)
        path = parts.path.removeprefix("/apirest.php/")
        if path == "initSession":
            if asked.headers.get("authorization") != "user_token open sesame":
                return json_reply('["ERROR_GLPI_LOGIN_USER_TOKEN", "wrong"]', 401)
            self.sessions += 1
            return json_reply('{"session_token": "a1b2"}')
        if asked.headers.get("session-token") != "a1b2":
            return json_reply('["ERROR_SESSION_TOKEN_INVALID", ""]', 401)
        if path == "killSession":
            self.sessions -= 1
            return reply()
        if path == "search/Ticket":
            query = parse_qs(parts.query)
            assert query["criteria[0][field]"] == ["21"] and query["criteria[0][searchtype]"] == ["contains"]
            (word,) = query["criteria[0][value]"]
            return json_reply(json.dumps({"totalcount": sum(word in one["content"] for one in self.tickets)}))
        assert (asked.method, path) == ("POST", "Ticket")
        self.tickets.append(json.loads(asked.body)["input"])
        return json_reply(json.dumps({"id": len(self.tickets), "message": ""}), 201)


@pytest.fixture
def glpi() -> Iterator[Glpi]:
    with serving() as web:
        found = Glpi(web)

        def answer(asked: Asked) -> bytes:  # A function, as the server counts what it takes.
            return found.answer(asked)

        web.routes["*"] = answer
        yield found


def sender(glpi: Glpi, app: str = "") -> TicketSender:
    host = f"127.0.0.1:{glpi.web.port}"
    return TicketSender(
        url=f"http://{host}/apirest.php", host=host, user_token=USER, app_token=app, ca_file=None
    )


def test_a_notice_is_one_ticket_however_often_it_is_sent_and_no_session_stays(glpi: Glpi) -> None:
    assert sent(sender(glpi)) is None
    assert sent(sender(glpi)) is None
    (ticket,) = glpi.tickets
    assert ticket["name"] == f"rexecop: {NOTICE.text}" and NOTICE.id in ticket["content"]
    assert glpi.sessions == 0
    assert "app-token" not in glpi.web.asked[0].headers


def test_the_token_of_the_api_client_goes_with_every_request_where_there_is_one(glpi: Glpi) -> None:
    assert sent(sender(glpi, APP)) is None
    token = SECRETS[APP].decode().strip()
    assert [one.headers["app-token"] for one in glpi.web.asked] == [token] * 4


def test_markup_in_a_notice_is_text_in_the_ticket_and_its_link_leads_to_the_page(glpi: Glpi) -> None:
    link = "https://ops.example/console/operations/7?a=1&b=2"
    notice: Notice = replace(NOTICE, text="<b>bold</b>", link=link)
    assert asyncio.run(send(sender(glpi), notice)) is None
    assert '<a href="https://ops.example/console/operations/7?a=1&amp;b=2">' in glpi.tickets[0]["content"]
    assert "<b>" not in glpi.tickets[0]["content"] and "&lt;b&gt;" in glpi.tickets[0]["content"]


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("initSession", json_reply("[]", 401), "answered with status 401"),
        ("initSession", json_reply("{}"), "began no session"),
        ("initSession", reply(b"<html>"), "is no JSON"),
        ("search/Ticket", json_reply('{"count": 0}'), "does not say whether"),
        ("search/Ticket", reply(b"x" * 100_000), "answers without end"),
        ("Ticket", json_reply('["ERROR_GLPI_ADD"]', 400), "answered with status 400"),
        ("Ticket", json_reply("{}", 201), "names no ticket"),
    ],
)
def test_what_glpi_does_not_take_is_not_taken_and_the_session_is_ended(
    glpi: Glpi, path: str, answer: bytes, words: str
) -> None:
    glpi.web.routes[f"/apirest.php/{path}"] = answer
    assert words in str(sent(sender(glpi)))
    assert glpi.tickets == [] and glpi.sessions == 0


def test_a_server_that_is_not_there_is_named_without_what_it_was_given(glpi: Glpi) -> None:
    found = sent(replace(sender(glpi), url="http://127.0.0.1:9/apirest.php", host="127.0.0.1:9"))
    assert found is not None and found.startswith("127.0.0.1:9 does not answer") and "sesame" not in found
