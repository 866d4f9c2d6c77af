"""The recon package: what it refuses, that its scope is the runner's policy, and one real probe."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import (
    RECIPES,
    Endpoint,
    ReconRefused,
    Scope,
    Signal,
    analyse,
    compile_action,
    confirm,
    dry_run,
    evaluate,
    parse_action,
    parse_scope,
    parse_url,
    policy_pack,
    profile_root,
    read_action,
    read_signal,
)
from recon.cli import EXIT_DENIED, EXIT_OK, EXIT_USAGE, run
from recon.endpoint import checked_address
from recon.errors import OutOfScope
from recon.pack import environment
from rexecop.app.planner import PlanInput
from rexecop.governance.admission import Policy, decide
from rexecop.governance.pack import Pack
from rexecop.operations.errors import ParameterRefused
from rexecop.operations.profile import load_profile
from rexecop.proof.call import ProcessRequest
from rexecop.proof.canonical import Json
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import PolicyRequest, RequestTarget
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep
from rexecop.proof.verify.report import Rung
from rexecop.proof.vocabulary import Effect, Established, Gate, Mode, State, Verdict
from tests.app.support import made, opened, records, scratch, verified
from tests.needs import needs
from tests.operations.folders import environment as read_environment
from tests.operations.folders import folder, plan

ROOT: Final = Path(__file__).parents[2]
PROFILE: Final = load_profile(folder(profile_root()))
NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
SCOPE: Final = b"""
id = "spring"
people = ["alice"]
hosts = ["www.example.com", "*.lab.example.com", "192.0.2.9"]
networks = ["192.0.2.0/25", "198.51.0.0/16", "10.0.0.0/10", "2001:db8:7::/48", "2001:db8::9/128"]
ports = [80, 443]
schemes = ["https"]
not_before = 2026-02-01T00:00:00Z
not_after = 2026-04-01T00:00:00Z
exclude_hosts = ["db.lab.example.com", "*.off.lab.example.com"]
exclude_networks = ["192.0.2.64/26", "2001:db8:7:8::/64"]
"""


def action(*args: str, **fields: object) -> Mapping[str, object]:
    given = {"action_type": "single_probe", "capability": "http_probe", "tool": "curl", "args": list(args)}
    return {**given, **fields}


# --- proposals ---


def test_the_first_example_of_the_readme_runs_as_it_is_written() -> None:
    text = (ROOT / "profiles/recon/README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (scope,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert Pack.parse(policy_pack(parse_scope(scope.encode()))).ref.id == "recon-spring"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["file:///etc/passwd"], "url-refused"),
        (["ftp://example.com/"], "url-refused"),
        (["https:example.com"], "url-refused"),
        (["example.com"], "url-refused"),
        (["https://user:pw@example.com/"], "url-refused"),
        (["https://example.com@192.0.2.7/"], "url-refused"),
        (["https://example.com\\@192.0.2.7/"], "url-refused"),
        (["https://example.com/#x"], "url-refused"),
        (["https://EXAMPLE.com/"], "url-refused"),
        (["https://127.1/"], "url-refused"),
        (["https://0x7f000001/"], "url-refused"),
        (["https://2130706433/"], "url-refused"),
        (["https://[::1]/"], "url-refused"),
        (["https://example.com:99999/"], "url-refused"),
        (["https://example.com/{a,b}"], "url-refused"),
        (["https://example.com/`id`"], "url-refused"),
        (["https://example.com/ x"], "url-refused"),
        (["https://example.com/\u2025"], "url-refused"),
        (["https://example.com\n"], "action-refused"),
        (["https://a.example/", "https://b.example/"], "option-refused"),
        (["-s"], "option-refused"),
        (["-L", "https://example.com/"], "option-refused"),
        (["--location", "https://example.com/"], "option-refused"),
        (["-o", "/tmp/x", "https://example.com/"], "option-refused"),
        (["-ofile", "https://example.com/"], "option-refused"),
        (["-d@/etc/passwd", "https://example.com/"], "option-refused"),
        (["-K", "x", "https://example.com/"], "option-refused"),
        (["--resolve=example.com:443:192.0.2.1", "https://example.com/"], "option-refused"),
        (["--proxy", "http://x", "https://example.com/"], "option-refused"),
        (["-H", "authorization: x", "https://example.com/"], "option-refused"),
        (["--max-time", "1", "https://example.com/"], "option-refused"),
        (["--max-time"], "option-refused"),
        ([], "action-refused"),
    ],
)
def test_what_is_not_one_plain_probe_is_refused(args: list[str], code: str) -> None:
    with pytest.raises(ReconRefused) as refused:
        compile_action(read_action(action(*args)))

    assert refused.value.code == code
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"tool": "rm"}, "tool-refused"),
        ({"capability": "shell"}, "tool-refused"),
        ({"action_type": "variant_probe"}, "action-refused"),
        ({"tool": 7}, "action-refused"),
        ({"args": "https://example.com/"}, "action-refused"),
        ({"args": [7]}, "action-refused"),
        ({"extra": 1}, "action-refused"),
    ],
)
def test_an_action_of_another_form_or_tool_is_refused(fields: Mapping[str, object], code: str) -> None:
    with pytest.raises(ReconRefused) as refused:
        compile_action(read_action(action("https://example.com/", **fields)))

    assert refused.value.code == code


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b'{"tool":"curl","tool":"rm"}', b"[" * 9000, b"\xff"])
def test_text_that_is_no_action_is_refused(text: bytes) -> None:
    with pytest.raises(ReconRefused):
        parse_action(text)


@pytest.mark.parametrize(
    ("args", "loss", "allowed"),
    [
        (["https://www.example.com:443/"], "none", True),
        (["-s", "https://www.example.com"], "harmless_normalization", True),
        (["-m", "60", "https://www.example.com/"], "bounded_lowering", True),
        (["-I", "https://www.example.com/"], "degraded_semantics", False),
    ],
)
def test_what_is_lost_is_named_and_decides_whether_it_goes_on(
    args: list[str], loss: str, allowed: bool
) -> None:
    scope = parse_scope(SCOPE)
    found = evaluate(read_action(action(*args)), scope, resolve=lambda _: ("192.0.2.7",), at=NOW)

    assert found.compiled is not None and found.compiled.loss == loss
    assert found.allowed is allowed


# --- the profile does what the package says ---


def planned(parameters: Mapping[str, Json]) -> tuple[object, ...]:
    where = read_environment(environment(parse_scope(SCOPE)).decode())
    (step,) = plan(PROFILE, where, "single_probe", "engagement", Mode.READ_ONLY, parameters).steps
    assert isinstance(step, CallStep) and isinstance(step.call.request, ProcessRequest)
    return step.call.request.argv


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_the_arguments_that_are_shown_are_those_the_runner_plans(address: str) -> None:
    compiled = compile_action(read_action(action("https://www.example.com:8443/a/../b?c=%41&d")))
    parameters = compiled.parameters(checked_address(address))

    assert dry_run(compiled, address).argv == planned(parameters)
    assert set(RECIPES) == {name for spec in PROFILE.connectors.values() for name in spec.actions}


BASE: Final[Mapping[str, Json]] = {
    "scheme": "https", "host": "www.example.com", "port": 443, "path": "/", "address": "192.0.2.7"
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("host", text) for text in ("-x", "a b", "a@b", "a\n", "A", "127.1", "1.2.3.04", "[::1]", "")),
        *(("address", text) for text in ("localhost", "127.0.0.01", "1.2.3.4\n", "2001:0db8::1", "::1.2.3")),
        *(("path", text) for text in ("x", "/ ", "/#", "/{a}", "/\n", "/[1-9]", "/\u00e9")),
        *(("scheme", text) for text in ("file", "HTTP", "")),
        *(("port", number) for number in (0, 65536, "443")),
    ],
)  # fmt: skip
def test_the_runner_refuses_parameters_that_mean_something_else(name: str, value: Json) -> None:
    with pytest.raises(ParameterRefused):
        planned({**BASE, name: value})


labels = st.from_regex(r"\A[a-z0-9-]{1,5}\Z")
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)


@settings(max_examples=30)
@given(host=hosts, path=st.from_regex(r"\A/[!-~]{0,8}\Z"))
def test_package_and_runner_take_the_same_endpoints(host: str, path: str) -> None:
    try:
        parsed = parse_url(f"https://{host}{path}")
    except ReconRefused:
        return
    schema = PROFILE.intents["single_probe"].parameters
    assert schema is not None
    schema.check({**BASE, "host": parsed.host, "path": parsed.path})


# --- scope ---


def asked(parameters: Mapping[str, Json], at: datetime, person: str = "alice") -> PolicyRequest:
    return PolicyRequest(
        gate=Gate.PLAN,
        principal=Principal(person=person, established=Established.OS_USER, credential="uid:1"),
        profile="recon",
        intent="single_probe",
        effect=Effect.READ,
        mode=Mode.READ_ONLY,
        risk="medium",
        environment="recon-spring",
        targets=(RequestTarget(id="engagement", type="scope", criticality="low"),),
        simulated=False,
        pinned=False,
        origin="cli",
        now=at,
        parameters=parameters,
    )


OWN: Final = Pack.parse(
    {
        path.removeprefix("policy/"): data
        for path, data in folder(profile_root()).items()
        if path.startswith("policy/")
    }
)
IN_FORCE: Final = Policy((Pack.parse(policy_pack(parse_scope(SCOPE))),), (OWN,))


def in_scope(scope: Scope, endpoint: Endpoint, address: str, at: datetime) -> bool:
    try:
        scope.require(endpoint, checked_address(address), at)
    except OutOfScope:
        return False
    return True


HOSTS: Final = (
    *("www.example.com", "x.www.example.com", "lab.example.com", "a.lab.example.com", "a.b.lab.example.com"),
    *("db.lab.example.com", "a.off.lab.example.com", "off.lab.example.com", "evil.example", "192.0.2.9"),
)
ADDRESSES: Final = (
    *("192.0.1.255", "192.0.2.0", "192.0.2.9", "192.0.2.63", "192.0.2.64", "192.0.2.127", "192.0.2.128"),
    *("198.51.0.0", "198.51.255.255", "198.52.0.0", "198.5.10.0", "10.0.0.1", "10.63.255.255", "10.64.0.0"),
    *("127.0.0.1", "2001:db8:7::", "2001:db8:7::1", "2001:db8:7:ffff:ffff:ffff:ffff:ffff", "2001:db8:8::"),
    *("2001:db8:70::", "2001:db8:7:7::1", "2001:db8:7:8::1", "2001:db8:7:8:1::", "2001:db8:7:80::1"),
    *("2001:db8::9", "2001:db8::8", "::1", "::"),
)
WHEN: Final = tuple(
    (scheme, port, datetime.fromisoformat(at))
    for scheme, port, at in (
        ("https", 443, "2026-02-01T00:00:00Z"),
        ("https", 80, "2026-03-31T23:59:59.999Z"),
        ("http", 443, "2026-03-01T00:00:00Z"),
        ("https", 8443, "2026-03-01T00:00:00Z"),
        ("https", 443, "2026-01-31T23:59:59.999Z"),
        ("https", 443, "2026-04-01T00:00:00Z"),
    )
)


def test_the_policy_pack_allows_exactly_what_the_scope_does() -> None:
    scope, counts = parse_scope(SCOPE), Counter[bool]()
    for address in ADDRESSES:
        for host in (*HOSTS, *([address] if ":" not in address else [])):
            for scheme, port, at in WHEN if address == HOSTS[-1] else WHEN[:1]:
                endpoint = Endpoint(scheme=scheme, host=host, port=port, path="/")
                asking = asked({**BASE, "scheme": scheme, "host": host, "port": port, "address": address}, at)

                answer = decide(IN_FORCE, asking)

                allowed = answer.terms.verdict is Verdict.ALLOWED
                assert answer.errors == ()
                assert allowed is in_scope(scope, endpoint, address, at), asking
                counts[allowed] += 1
    assert counts[True] > 20 and counts[False] > 100


def test_nobody_probes_without_a_scope_in_force_and_only_its_people_with_one() -> None:
    free = Pack.parse(
        {
            "pack.yaml": b"id: free\nversion: 1\n",
            "rules.cedar": b'@id("all") permit (principal, action, resource);',
            "entities.yaml": b"people: {alice: {}, bob: {}}",
        }
    )
    scope = Pack.parse(policy_pack(parse_scope(SCOPE)))

    assert decide(Policy((free,), (OWN,)), asked(BASE, NOW)).terms.verdict is Verdict.BLOCKED
    with_scope = Policy((free, scope), (OWN,))
    assert decide(with_scope, asked(BASE, NOW)).terms.verdict is Verdict.ALLOWED
    assert decide(with_scope, asked(BASE, NOW, "bob")).terms.verdict is Verdict.BLOCKED


@pytest.mark.parametrize(
    "found",
    [("192.0.2.7", "127.0.0.1"), ("127.0.0.1",), (), ("192.0.2.7", "192.0.2.70"), ("192.0.2.7", "nonsense")],
)
def test_a_name_that_also_leads_outside_is_not_probed(found: tuple[str, ...]) -> None:
    proposal = read_action(action("https://www.example.com/"))

    verdict = evaluate(proposal, parse_scope(SCOPE), resolve=lambda _: found, at=NOW)

    assert not verdict.allowed and verdict.address is None


@pytest.mark.parametrize(
    "change",
    [
        {"networks": ["0.0.0.0/0"]},
        {"networks": ["::/0"]},
        {"networks": ["2001:db8::/33"]},
        {"networks": ["2001:0:1::/48"]},
        {"networks": ["192.0.2.1/24"]},
        {"networks": []},
        {"networks": ["192.0.2.0/25"] * 60},
        {"networks": ["10.0.0.0/9"]},
        {"exclude_networks": ["2001:db8::1/128"]},
        {"hosts": ["*"]},
        {"hosts": ["*.com/"]},
        {"hosts": ['x" || true']},
        {"people": ["a'b"]},
        {"people": []},
        {"ports": [0]},
        {"ports": [True]},
        {"schemes": ["file"]},
        {"id": "../x"},
        {"not_after": datetime(2028, 1, 1, tzinfo=UTC)},
        {"not_after": datetime(2026, 1, 1, tzinfo=UTC)},
        {"not_after": "2026-03-01"},
        {"surprise": 1},
    ],
)
def test_a_scope_that_names_too_much_or_nothing_is_refused(change: Mapping[str, object]) -> None:
    table = {**tomllib.loads(SCOPE.decode()), **change}
    text = "\n".join(f"{name} = {toml(value)}" for name, value in table.items())

    with pytest.raises(ReconRefused) as refused:
        policy_pack(parse_scope(text.encode()))
    assert refused.value.code == "scope-refused"


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"'''{value}'''"
        case datetime():
            return value.isoformat()
        case list():
            return "[{}]".format(", ".join(map(toml, value)))
        case _:
            return str(value)


def test_a_scope_says_everything_that_carries_authority() -> None:
    table = tomllib.loads(SCOPE.decode())
    for name in set(table) - {"exclude_hosts", "exclude_networks"}:
        text = "\n".join(f"{key} = {toml(value)}" for key, value in table.items() if key != name)
        with pytest.raises(ReconRefused):
            parse_scope(text.encode())


# --- what it came to ---

FACTS: Final = {
    "complete": True, "http_code": 200, "remote_ip": "192.0.2.7", "content_type": "text", "size_download": 5
}  # fmt: skip


def signal(
    operation: str, at: str = "a", facts: Mapping[str, object] | None = None, **more: object
) -> Signal:
    return read_signal(operation, at, {**FACTS, **(facts or {}), **more})


@pytest.mark.parametrize(
    "facts", [{"complete": False}, {"http_code": "200"}, {"http_code": True}, {"remote_ip": None}]
)
def test_facts_of_no_whole_probe_are_no_signal(facts: Mapping[str, object]) -> None:
    with pytest.raises(ReconRefused):
        read_signal("op_1", "a", {**FACTS, **facts})


def test_a_finding_is_confirmed_only_by_a_control_a_difference_and_a_repetition() -> None:
    control, observed = signal("op_1", "b"), signal("op_2", http_code=500)
    repeated = signal("op_3", http_code=500)

    assert analyse((control, observed, repeated)).promoted
    assert not analyse((observed, repeated)).promoted
    assert confirm(control=control, observed=observed, repeated=repeated).confirmed
    assert not confirm(control=control, observed=observed, repeated=signal("op_3")).confirmed
    assert not confirm(
        control=signal("op_1", "b", http_code=500), observed=observed, repeated=repeated
    ).confirmed
    assert not confirm(control=signal("op_1"), observed=observed, repeated=repeated).confirmed
    with pytest.raises(ReconRefused):
        confirm(control=control, observed=observed, repeated=observed)


# --- the command ---


def test_what_is_refused_is_one_line_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ok.json").write_text('{"action_type":"single_probe","capability":"http_probe","tool":"curl",'
                               '"args":["https://www.example.com/"]}')  # fmt: skip
    Path("file.json").write_text(Path("ok.json").read_text().replace("https://www.example.com", "file://"))
    Path("scope.toml").write_bytes(SCOPE.replace(b"2026-02", b"2026-01").replace(b"2026-04", b"2026-12"))
    cases = (
        (["compile", "file.json"], EXIT_USAGE),
        (["compile", "missing.json"], EXIT_USAGE),
        (["scope", "scope.toml", "--root", "none"], EXIT_USAGE),
        (["plan", "ok.json", "--scope", "scope.toml", "--address", "127.0.0.1"], EXIT_DENIED),
    )
    for words, code in cases:
        assert run(words) == code
        said = capsys.readouterr()
        assert said.err.startswith("recon: error[") and said.err.count("\n") == 1
    assert run([]) == run(["path"]) == run(["compile", "ok.json"]) == EXIT_OK
    capsys.readouterr()
    planning = ["plan", "ok.json", "--scope", "scope.toml", "--json", "--address"]
    assert (run([*planning, "192.0.2.7"]), run([*planning, "192.0.2.70"])) == (EXIT_OK, EXIT_DENIED)
    said = capsys.readouterr()
    (command,) = json.loads(said.out)["next"]
    assert command.startswith("rexecop plan --profile recon ") and "address=192.0.2.7" in command
    assert json.loads(said.err)["code"] == "out-of-scope"


# --- a real probe ---


class Elsewhere(BaseHTTPRequestHandler):
    """Answers every request with a redirect, and notes it."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(f"{self.headers['host']} {self.path}")
        self.send_response(302)
        self.send_header("Location", f"http://{self.headers['host']}/followed")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def server() -> Iterator[int]:
    Elsewhere.seen.clear()
    found = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield found.server_address[1]
    finally:
        found.shutdown()
        found.server_close()


@needs("curl")
def test_a_probe_is_previewed_then_made_once_and_nothing_is_followed_or_sent_out_of_scope(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def story(root: Path, port: int) -> None:
        await made(root)
        (root / "scope.toml").write_text(
            f"""
id = "here"
people = ["alice"]
hosts = ["www.example.com"]
networks = ["127.0.0.1/32"]
ports = [{port}]
schemes = ["http"]
not_before = 2020-01-01T00:00:00Z
not_after = 2020-12-31T23:59:59Z
""".replace("2020", str(datetime.now(UTC).year))
        )
        assert run(["scope", str(root / "scope.toml"), "--root", str(root / "root")]) == EXIT_OK
        parameters: dict[str, Json] = {
            "scheme": "http", "host": "www.example.com", "port": port, "path": "/a?b", "address": "127.0.0.1"
        }  # fmt: skip

        def asked(mode: str, **change: Json) -> PlanInput:
            return PlanInput(
                profile="recon",
                env=str(root / "root" / "recon.environment.yaml"),
                intent="single_probe",
                target="engagement",
                mode=mode,
                parameters={**parameters, **change},
            )

        with opened(root) as instance:
            shown = await instance.plan(asked("dry_run"))
            await instance.start(shown.operation_id)
            assert not Elsewhere.seen

            probe = await instance.plan(asked("read_only"))
            ended = await instance.start(probe.operation_id)
            assert ended.state == State.COMPLETED
            assert Elsewhere.seen == [f"www.example.com:{port} /a?b"]
            outcome = next(
                s.record for s in records(instance, probe.operation_id) if isinstance(s.record, Outcome)
            )
            seen = read_signal(probe.operation_id, "a", outcome.facts or {})
            assert (seen.http_code, seen.redirected_to) == (302, f"http://www.example.com:{port}/followed")
            assert verified(instance, probe.operation_id).holds(Rung.LOGGED)

            for change in ({"address": "127.0.0.2"}, {"host": "elsewhere.example"}, {"port": port + 1}):
                refused = await instance.plan(asked("read_only", **change))
                assert refused.state == State.BLOCKED
        assert len(Elsewhere.seen) == 1

    with scratch() as root, server() as port:
        asyncio.run(story(root, port))
