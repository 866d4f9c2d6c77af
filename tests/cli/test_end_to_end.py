"""The real thing: every example of the command table, and what people do first, on a real root."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rexecop.cli.exits import Exit
from rexecop.cli.main import run
from rexecop.cli.table import ENTRIES
from rexecop.proof.canonical import canonical_bytes
from tests.cli.conftest import Ended, Rexecop
from tests.house.source import ROOT
from tests.needs import needs
from tests.operations.test_proposals import GOOD
from tests.proof.processes import make_key
from tests.proof.processes import run as run_tool

READ = "plan --intent host_facts --mode read_only"
FAILS = ("plan --intent show_greeting --mode read_only", "start @")
CHANGE = "plan --intent set_greeting --mode apply --param greeting=hello --identity me.key"
DIAGNOSIS = (
    "run diagnose_monitoring_host mon-1 --profile tecrax --mode read_only --yes "
    "--env here/examples/environments/monitoring-site.example.yaml"
)
YES = "approve @ --key approver.key --yes"

# What has to be there before an example makes sense.
BEFORE: Mapping[str, tuple[str, ...]] = {
    "start": (READ,),
    "history": (READ,),
    "logs": (READ, "start @"),
    "validate": (READ, "start @"),
    "approve": (CHANGE,),
    "deny": (CHANGE,),
    "rollback": (CHANGE, YES, "start @"),
    "retry": FAILS,
    "escalate": FAILS,
    "cancel": (CHANGE,),
    "export": (READ, "start @"),
    "receipt": (READ, "start @"),
    "evidence": (READ, "start @"),
    "verify": (READ, "start @", "export @ --output proof.rxb"),
    "reconcile": (READ, "start @"),
    "guest": ("guest grant ops --grants grants.json",),
    "resume": (READ, "start @"),
    "pause": (READ, "start @"),
    "reaction-plan": ("examples copy here", DIAGNOSIS),
    "reaction-explain": ("examples copy here", DIAGNOSIS),
    "reaction-start": (READ,),
    "reaction-replay": (READ,),
}
# What would be in the way of the next one.
AFTER: Mapping[str, tuple[str, ...]] = {"halt": ("halt --lift --scope target:db-1 --reason seen",)}
# Examples about a state that takes a race to reach: they are understood and refused for the state alone.
REFUSED = {
    "pause": "illegal-move",
    "resume": "illegal-move",
    "reconcile": "nothing-to-settle",
    "reaction-start": "operation-unknown",
    "reaction-replay": "operation-unknown",
}
FAILING = {"retry", "escalate"}  # What they read is taken away first.
CODES = {"retry": Exit.FAILED}
# These wait for requests, or for somebody at a terminal; tests of their own run them.
ENDLESS = {"serve", "mcp", "node", "terminal", "tui"}


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with a root where `bob` approves, and `me` asks with a key."""
    # Calls in a sandbox see an empty `/tmp`; the greeting they keep has to be elsewhere.
    with tempfile.TemporaryDirectory(prefix="rexecop-", dir="/var/tmp") as folder:
        before = os.getcwd()
        os.chdir(folder)
        for line in (
            "init --approver bob --other me --quiet",
            "keys new me.key --person me --role requester -q",
            # Whichever test comes first here, there is an operation to look at.
            "run host_facts --mode read_only --yes -q",
            "profile new site -q",
        ):
            assert run(shlex.split(line)) == 0
        shutil.copy(".rexecop/keys/approver", "approver.key")
        shutil.copy(".rexecop/hello.environment.yaml", "environment.yaml")
        Path("targets.yaml").write_text(
            "target_catalog: {version: '0.1', targets: [{id: here, target_kind: host, profile_ref: hello, "
            "environment_ref: environment.yaml, environment_target: localhost, capabilities: [], "
            "connector_refs: [local]}]}\n"
        )
        server = [sys.executable, str(ROOT / "tests" / "service" / "upstream.py"), folder]
        notes = {"name": "notes", "server": {"program": server}, "tools": {"list_notes": "read"}}
        Path("notes.yaml").write_text(json.dumps({"gateway": notes}))
        Path("proposal.json").write_bytes(canonical_bytes(GOOD))
        yield Path(folder)
        os.chdir(before)


@pytest.fixture
def do(root: Path, capsys: pytest.CaptureFixture[str]) -> object:
    os.chdir(root)

    def call(line: str) -> Ended:
        capsys.readouterr()
        code = run(shlex.split(line))
        said = capsys.readouterr()
        return Ended(code=code, out=said.out, err=said.err)

    return call


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name not in ENDLESS], ids=lambda e: e.name)
def test_the_example_of_every_command_works(do: object, root: Path, entry: object) -> None:
    assert callable(do)
    name, example = str(getattr(entry, "name", "")), str(getattr(entry, "example", ""))
    greeting = root / "rexecop-hello" / "greeting.txt"
    greeting.unlink(missing_ok=True) if name in FAILING else greeting.write_text("good day\n")
    for line in BEFORE.get(name, ()):
        assert do(line).code in {0, 1}, line

    ended = do(example.removeprefix("rexecop "))

    if name in REFUSED:
        assert ended.code == 2 and f"error[{REFUSED[name]}]" in ended.err, ended.err
    else:
        assert ended.code == CODES.get(name, Exit.DONE), ended.err + ended.out
        assert ended.out or ended.err
    assert "Traceback" not in ended.err and "internal-error" not in ended.err
    for line in AFTER.get(name, ()):
        assert do(line).code == 0, line


def test_a_change_waits_is_approved_by_another_runs_and_is_undone(do: object, root: Path) -> None:
    assert callable(do)
    greeting = root / "rexecop-hello" / "greeting.txt"
    before = greeting.read_bytes() if greeting.exists() else None

    planned = do(f"{CHANGE} --json").found
    name = planned["operation_id"]
    waits = do(f"start {name}")
    yes = do(f"approve {name} --key approver.key --yes --json")
    done = do(f"start {name} --json")
    after = greeting.read_text()
    undone = do(f"rollback {name} --reason enough --json")

    assert planned["state"] == "waiting_for_approval" and waits.code == Exit.NEEDS_APPROVAL
    assert yes.found["approved_by"] and done.found["state"] == "completed"
    assert after == "hello\n"
    assert undone.found["state"] == "undone" and undone.code == 0
    assert before is None or greeting.read_bytes() == before
    outputs = do(f"logs {name} --json --step write_greeting").found["outputs"]
    assert [(put["phase"], put["target"]) for put in outputs] == [("do", "localhost"), ("undo", "localhost")]
    assert do(f"logs {name} --raw --step write_greeting").out == "hello\n" + (before or b"").decode()


def test_a_vote_is_given_away_said_listed_and_taken_back(do: object, root: Path) -> None:
    assert callable(do)
    if not (root / "ben.key").exists():
        entities = root / ".rexecop" / "policy" / "starter" / "entities.yaml"
        entities.write_text(entities.read_text() + "  ben: {groups: [approvers]}\n")
        assert do("keys new ben.key --person ben --role approver -q").code == 0
    give = "delegate ben --until 2999-01-01 --reason leave --key approver.key --yes"
    for line, code in (
        (give.replace("2999-01-01", "2001-01-01"), "expiry-refused"),
        (give, "delegation-refused"),
        (give.replace(" --key approver.key", ""), "usage"),
        ("delegate revoke ff --reason back --key approver.key", "delegation-refused"),
    ):
        wrong = do(line)
        assert wrong.code != 0 and f"error[{code}]" in wrong.err and wrong.out == "", wrong.err
        assert ("try:" in wrong.err) == (code == "delegation-refused"), wrong.err
    until = (datetime.now(tz=UTC) + timedelta(days=3)).date()
    given = do(f"{give.replace('2999-01-01', str(until))} --scope intent:set_greeting --json").found
    assert (given["giver"], given["delegate"], given["state"]) == ("bob", "ben", "standing")
    assert do(CHANGE).code == 0
    yes = do("approve @ --for bob --key ben.key --yes --json").found
    assert yes["state"] == "approved" and yes["approved_by"] == ["ben for bob"]
    assert "approved by ben for bob" in do("status @").out
    assert do("delegate list --json").found["delegations"][0]["delegation"] == given["delegation"]
    digits = given["delegation"][7:15]
    assert do(f"delegate revoke {digits} --reason back --key approver.key --json").found["state"] == "revoked"
    assert do(CHANGE).code == 0
    late = do("approve @ --for bob --key ben.key --yes")
    assert late.code == Exit.DENIED and "error[delegation-missing]" in late.err
    assert do("delegate list -q").out.split()[0] == given["delegation"]


def test_nobody_approves_what_they_asked_for(do: object) -> None:
    assert callable(do)
    do("plan --intent set_greeting --mode apply --param greeting=hello")
    # The approver's key was enrolled by this very user, who also asks.
    refused = do(f"{YES} --json")
    noted = [record for record in do("history @ --json").found["records"] if record["kind"] == "note/1"]

    assert len(noted) == 1 and "rexecop preview" not in refused.err
    assert refused.code == Exit.DENIED and refused.out == ""
    assert json.loads(refused.err.splitlines()[-1])["code"] == "key-enrolled-by-requester"


@pytest.mark.parametrize(
    ("line", "code", "exit"),
    [
        ("plan --intent nothing --target localhost", "intent-unknown", Exit.USAGE),
        ("plan --intent host_facts --target nowhere", "target-unknown", Exit.USAGE),
        ("plan --intent host_facts --profile nothing", "profile-unknown", Exit.USAGE),
        ("plan --intent host_facts --mode wishful", "usage", Exit.USAGE),
        ("plan --intent set_greeting --param nothing=1", "parameter-refused", Exit.USAGE),
        ("plan --intent set_greeting --param nothing", "parameter-bad", Exit.USAGE),
        ("plan --intent host_facts --env nowhere.yaml", "file-missing", Exit.USAGE),
        ("status 999999", "operation-unknown", Exit.USAGE),
        ("status op_0000000000", "operation-unknown", Exit.USAGE),
        ("--root nowhere list", "root-missing", Exit.UNAVAILABLE),
        ("list --storage postgresql://me:canary@host/x", "storage-password", Exit.USAGE),
        ("list --storage s3", "storage-unsupported", Exit.USAGE),
        ("approve @ --key nowhere.key --yes", "key-file-missing", Exit.UNAVAILABLE),
    ],
)
def test_bad_input_is_one_line_and_stores_nothing(do: object, line: str, code: str, exit: Exit) -> None:
    assert callable(do)
    do(CHANGE)
    before = do("list --json").out

    ended = do(line + " --json")

    found = json.loads(ended.err.splitlines()[-1])
    assert (found["code"], ended.code, ended.out) == (code, exit, "")
    assert "canary" not in ended.err
    assert do("list --json").out == before


def test_alone_one_hears_what_a_change_needs_and_the_printed_way_works(rexecop: Rexecop, alone: Path) -> None:
    made = rexecop("init", "--json").found
    pack = Path(".rexecop/policy/starter/entities.yaml")
    enrolling, planning, approving = (str(line).split()[1:] for line in list(made["next"])[-3:])  # type: ignore[call-overload]
    early = rexecop(*enrolling)
    pack.write_text(pack.read_text() + "  " + str(made["notice"]).split("`")[1] + "\n")

    assert "no policy pack names `alice`" in early.err and str(pack) in early.err
    assert rexecop(*planning).code == 0
    assert rexecop(*approving, "--yes", "--quiet").out == "approved\n"
    assert rexecop("init", "--json").found["notice"] is None


@needs("ssh-keygen")
def test_people_are_enrolled_from_an_allowed_signers_file_and_written_down_as_one(
    do: object, root: Path
) -> None:
    assert callable(do)
    for kind, bits in (("ecdsa", "256"), ("rsa", "3072")):
        make_key(Path(f"theirs-{kind}"), kind, bits)
    keys = [Path(f"theirs-{kind}.pub").read_text() for kind in ("ecdsa", "rsa")]
    Path("team").write_text(f'# team\ndora {keys[0]}emil valid-before="20900101Z" {keys[1]}')

    enrolled = do("keys trust team --json")
    alone = do("keys trust theirs-rsa.pub --json")
    listed = do("keys list --allowed-signers")

    assert [(key["person"], key["role"]) for key in enrolled.found["keys"]] == [
        ("dora", "approver"),
        ("emil", "approver"),
    ]
    assert "`dora`" in enrolled.err and "`emil`" in enrolled.err
    assert alone.code == Exit.USAGE and "allowed-signers-malformed" in alone.err
    assert "rexecop keys trust theirs-rsa.pub --role approver --person NAME" in alone.err
    Path("listed").write_text(listed.out)
    for name in ("bob", "dora", "emil"):
        run_tool("ssh-keygen", "-Y", "match-principals", "-I", name, "-f", "listed")
    assert "until 2090-01-01" in do("keys list").out


def test_what_is_no_bundle_is_refused_in_a_few_lines(do: object, root: Path) -> None:
    assert callable(do)
    (root / "note.txt").write_text("not a bundle")

    ended = do("verify note.txt")

    assert ended.code == Exit.EVIDENCE and len(ended.out.splitlines()) <= 5


def test_one_changed_byte_makes_a_bundle_fail(do: object, root: Path) -> None:
    assert callable(do)
    for line in (READ, "start @", "export @ --output whole.rxb"):
        assert do(line).code == 0
    data = bytearray((root / "whole.rxb").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "broken.rxb").write_bytes(data)

    assert do("verify whole.rxb").code == Exit.DONE
    assert do("verify broken.rxb").code == Exit.EVIDENCE
    assert do("verify whole.rxb --require witnessed").code == Exit.EVIDENCE


def test_the_doctor_names_who_holds_a_target(rexecop: Rexecop, alone: Path) -> None:
    rexecop("init")
    rexecop("plan", "--intent", "host_facts", "--mode", "read_only")
    free = rexecop("doctor").out
    with closing(sqlite3.connect(".rexecop/ledger.sqlite")) as ledger, ledger:
        ledger.execute("INSERT INTO locks VALUES ('localhost', 1, 1)")

    assert "none held" in free and "localhost by #1" in rexecop("doctor").out
