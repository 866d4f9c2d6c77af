"""A profile package as they were written for the seed lints, plans, previews and runs unchanged."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread
from typing import Any, Final

import pytest
import yaml

from rexecop.app import backends, handlers, profiles
from rexecop.app.files import read_folder
from rexecop.app.handlers import named_in_files
from rexecop.app.offline import lint_environment, lint_profile, show_profile
from rexecop.app.packs import import_pack
from rexecop.app.planner import PlanInput
from rexecop.app.profiles import find_profile
from rexecop.execution.worker import answer
from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import ImportRefused
from rexecop.governance.lint import lint
from rexecop.governance.pack import Pack
from rexecop.operations.errors import BackendRefused, LaneUnavailable, PlanDrifted
from rexecop.operations.handlers import failures_of, result_of
from rexecop.operations.profile import load_profile
from rexecop.operations.step_output import StepOutput
from rexecop.proof.call import ExchangeRequest, Request, ScriptedRequest
from rexecop.proof.canonical import Json
from rexecop.proof.records.decision import Decision, RequestCall, RequestTarget, Terms
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.validation import Validation
from rexecop.proof.vocabulary import Effect, Ended, Gate, Verdict
from tests.app.support import made, opened, records, scratch, verified
from tests.governance.cases import request
from tests.lanes.web import Web, authority, json_reply, serving
from tests.needs import needs

HERE: Final = Path(__file__).parent
PLUGINS: Final = """
[rexecop.profiles]
seedlab = seedlab:profile_root

[rexecop.internal_actions]
seedlab = seedlab.internal_actions:register_handlers

[rexecop.connector_backends]
seedlab_device = seedlab.connectors:build_device_backend
http_api = seedlab.connectors:build_device_backend
"""
DEVICE: Final = """    lab_device:
      backend: {backend}
      host: 127.0.0.1
      port: {port}
      mark: {mark}
      password_secret_ref: device_password
  safety:
"""
INVENTORY: Final = "collect_basic_host_inventory"
HOST_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDXhGC6PjYyYQXbgSf5lkLjxQYGUKPDqoyVFFJwrSMY"
SSH, HTTP = (ExchangeRequest(protocol=name, message={}) for name in ("ssh/1", "http/1"))
SCRIPTED: Final = ScriptedRequest(arguments={}, replies=())


@dataclass(frozen=True)
class Lab:
    """A root, the installed package, and the environment that goes with it."""

    folder: Path
    environment: Path
    package: Path

    def ask(self, intent: str, mode: str = "read_only", target: str = "lab-host") -> PlanInput:
        return PlanInput(
            profile="seedlab", env=str(self.environment), intent=intent, target=target, mode=mode
        )

    def run(self, asked: PlanInput) -> tuple[str, list[Outcome], Validation | None, list[str]]:
        """Return the state it comes to, its outcomes, what validation says, and what a verifier does."""

        async def go() -> tuple[str, list[Outcome], Validation | None, list[str]]:
            with opened(self.folder) as instance:
                view = await instance.plan(asked)
                if view.state == "approved":
                    view = await instance.start(view.operation_id)
                found = [sealed.record for sealed in records(instance, view.operation_id)]
                validated = next((one for one in found if isinstance(one, Validation)), None)
                outcomes = [one for one in found if isinstance(one, Outcome)]
                said = verified(instance, view.operation_id).findings
                return view.state, outcomes, validated, [finding.code for finding in said]

        return asyncio.run(go())


def forget_what_is_installed() -> None:
    profiles._installed.cache_clear()
    handlers._installed.cache_clear()
    backends._installed.cache_clear()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with scratch() as folder, serving() as web, pytest.MonkeyPatch.context() as patch:
        site, package = folder / "site", folder / "site" / "seedlab"
        shutil.copytree(HERE / "seedlab", package, ignore=shutil.ignore_patterns("__pycache__"))
        info = site / "seedlab-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: seedlab\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(PLUGINS)
        patch.syspath_prepend(str(site))
        forget_what_is_installed()
        asyncio.run(made(folder))
        yield Lab(folder=folder, environment=environment(folder, web), package=package)
    sys.modules.pop("seedlab", None)
    forget_what_is_installed()


def environment(folder: Path, web: Web) -> Path:
    web.routes["/api/status"] = json_reply('{"Version": "2.19.4", "InstanceID": "never kept"}')
    text = (HERE / "environment.yaml").read_text().replace("@PORT@", str(web.port))
    path = folder / "environment.yaml"
    path.write_text(text.replace("@KEY@", str(folder / "root" / "keys" / "instance")))
    return path


def facts(outcomes: list[Outcome], step: str) -> dict[str, object]:
    return next(dict(one.facts or {}) for one in outcomes if one.step == step)


@needs("bwrap")
def test_the_package_lints_without_an_error_and_its_handlers_are_found(lab: Lab) -> None:
    assert [finding for finding in lint_profile("seedlab") if finding.severity == "error"] == []


@needs("bwrap")
def test_an_action_that_is_no_handler_is_an_error_of_the_lint(lab: Lab) -> None:
    workflow = lab.package / "profile" / "workflows" / "check_time_health.yaml"
    whole = workflow.read_text()
    workflow.write_text(whole.replace("action: normalize_time_health", "action: normalize_tiem_health"))
    try:
        (error,) = [finding for finding in lint_profile("seedlab") if finding.severity == "error"]
    finally:
        workflow.write_text(whole)

    assert (error.found, error.file) == ("normalize_tiem_health", "workflows/check_time_health.yaml")
    assert "normalize_time_health" in str(error.allowed)


@needs("bwrap")
def test_an_inventory_is_read_and_the_obligations_of_its_environment_are_kept(lab: Lab) -> None:
    state, outcomes, validated, findings = lab.run(lab.ask(INVENTORY))

    found = facts(outcomes, "normalize_host_inventory")["host_inventory"]
    assert (state, findings) == ("completed", [])
    assert isinstance(found, dict) and found["target"] == "lab-host" and found["complete"] is True
    assert float(found["load_average"]["one_minute"]) >= 0  # As text: evidence holds no fractions.
    assert validated is not None and [rule.rule for rule in validated.rules][-1] == f"{INVENTORY}.passed"


@needs("bwrap")
def test_a_read_that_failed_and_was_gone_on_after_still_comes_to_facts(lab: Lab) -> None:
    state, outcomes, validated, findings = lab.run(lab.ask("check_time_health"))

    found = facts(outcomes, "normalize_time_health")["time_health"]
    assert (state, findings) == ("failed", []) and validated is not None
    assert isinstance(found, dict)
    assert (found["returncode"], found["error_class"]) == (1, "nonzero_exit")


@needs("bwrap")
def test_why_says_what_the_profile_tells_operators_of_such_a_failure(lab: Lab) -> None:
    async def go(target: str) -> tuple[str, ...]:
        with opened(lab.folder) as instance:
            view = await instance.plan(lab.ask("check_time_health", target=target))
            if view.state == "approved":
                await instance.start(view.operation_id)
            return instance.why(view.operation_id).lines

    failed, blocked = asyncio.run(go("lab-host")), asyncio.run(go("other-host"))

    assert "the profile says: The connector said no." in failed
    assert "the profile says: The policy said no." in blocked
    assert "its runbook: `rexecop runbook show check_time_health`, of profile `seedlab`" in failed


@needs("bwrap")
def test_an_answer_over_http_is_what_the_shape_keeps_of_it(lab: Lab) -> None:
    state, outcomes, _, findings = lab.run(lab.ask("check_api_version"))

    found = facts(outcomes, "normalize_api_version")["api_health"]
    assert (state, findings) == ("completed", [])
    assert isinstance(found, dict) and found["api_version"] == "2.19.4"


@needs("bwrap")
def test_a_handler_sees_what_those_before_it_stored(lab: Lab) -> None:
    state, outcomes, _, findings = lab.run(lab.ask("diagnose_lab"))

    found = facts(outcomes, "assess_lab")["lab_assessment"]
    assert (state, findings) == ("completed", [])
    assert isinstance(found, dict)
    assert found["components"] == {"host": "healthy", "time": "unhealthy"}


@needs("bwrap")
def test_a_handler_reaches_no_key_no_network_and_no_file(lab: Lab) -> None:
    state, outcomes, _, _ = lab.run(lab.ask("probe_isolation"))

    found = facts(outcomes, "misbehave")["misbehaviour"]
    assert state == "completed" and isinstance(found, dict)
    assert (found["key"], found["wrote"]) == ("hidden", False)
    assert found["network"] in ("none", "own or none")
    assert not (lab.package / "written.by.handler").exists()


def test_a_dry_run_shows_every_call_and_makes_none(lab: Lab) -> None:
    state, outcomes, _, _ = lab.run(lab.ask("diagnose_lab", mode="dry_run"))

    assert state == "completed"
    assert {one.ended for one in outcomes} == {Ended.PREVIEWED}


def test_an_environment_over_ssh_and_https_is_shown_call_by_call(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lab.folder / "monitoring"
    folder.mkdir()
    ca = authority()
    (folder / "ca.pem").write_text(ca.pem)
    (folder / "known_hosts").write_text(f"192.0.2.10 {HOST_KEY}\n")
    (folder / "env.yaml").write_text((HERE / "monitoring.yaml").read_text().replace("@FOLDER@", str(folder)))
    monkeypatch.setenv("REXECOP_SECRET_ZABBIX_URL", "https://192.0.2.20")
    monkeypatch.setenv("REXECOP_SECRET_ZABBIX_TOKEN", "canary")
    monkeypatch.setenv("REXECOP_SECRET_ZABBIX_CA", str(folder / "ca.pem"))
    asked = replace(
        lab.ask("diagnose_monitoring", mode="dry_run", target="monitoring-host"),
        env=str(folder / "env.yaml"),
    )

    state, outcomes, _, findings = lab.run(asked)

    assert (state, findings) == ("completed", [])
    assert [(one.step, one.ended) for one in outcomes] == [
        (step, Ended.PREVIEWED)
        for step in ("read_os_release", "read_docker", "read_api_version", "read_disaster")
    ]


@pytest.mark.parametrize(
    ("request_", "output", "result"),
    [
        (SSH, {"stdout": " up \n", "status": 3}, {"stdout": "up", "stderr": "", "returncode": 3}),
        (SSH, {"ended": Ended.FAILED}, None),
        (HTTP, {"stdout": '{"result": "7.2", "id": 1}', "status": 200}, {"result": "7.2", "id": 1}),
        (HTTP, {"stdout": '["a"]', "status": 200}, {"value": ["a"]}),
        (HTTP, {"stdout": "not json", "status": 200}, None),
        (SCRIPTED, {"data": {"Version": "1"}}, {"Version": "1"}),
    ],
)
def test_a_handler_is_given_what_a_call_answered(
    request_: Request, output: dict[str, Any], result: Json
) -> None:
    assert result_of(StepOutput(**{"ended": Ended.OK, **output}), request_) == result


def test_what_no_rule_of_the_environment_allows_is_blocked_and_says_so(lab: Lab) -> None:
    async def go() -> list[Decision]:
        with opened(lab.folder) as instance:
            view = await instance.plan(lab.ask(INVENTORY, target="other-host"))
            found = (sealed.record for sealed in records(instance, view.operation_id))
            return [one for one in found if isinstance(one, Decision)]

    (decision,) = asyncio.run(go())
    assert [rule.id for rule in decision.rules] == ["seedlab-readonly/no-rule-allows-it"]
    assert "seedlab-readonly" in [pack.id for pack in decision.packs]


def test_rules_of_an_environment_grant_nothing_that_the_operator_does_not(lab: Lab) -> None:
    starter = lab.folder / "root" / "policy" / "starter" / "rules.cedar"
    whole = starter.read_text()
    starter.write_text('@id("nothing")\npermit (principal, action in Action::"destroy", resource);\n')
    try:
        state, _, _, _ = lab.run(lab.ask(INVENTORY))
    finally:
        starter.write_text(whole)

    assert state == "blocked"


def imported(lab: Lab, folder: str) -> Policy:
    """Return the rules of the environment as the one pack in force; `alice` asks."""
    pack = import_pack(lab.environment, lab.folder / folder, "approvers")
    assert [finding for finding in lint(pack) if finding.severity == "error"] == []
    files = read_folder(lab.folder / folder)
    people = files["entities.yaml"].replace(b"people: {}", b"people: {alice: {}}")
    return Policy((Pack.parse({**files, "entities.yaml": people}),))


def test_rules_of_an_environment_become_a_pack_that_grants_what_they_did(lab: Lab) -> None:
    policy = imported(lab, "imported")

    def terms(intent: str = INVENTORY, target: str = "lab-host", **more: object) -> Terms:
        targets = (RequestTarget(id=target, type="host", criticality="medium"),)
        usual: dict[str, object] = {"effect": Effect.READ, "profile": "seedlab", "intent": intent}
        return decide(policy, request(targets=targets, **{**usual, **more})).terms

    def call(connector: str, action: str) -> str:
        one = RequestCall(connector=connector, action=action, effect=Effect.READ)
        return str(terms(gate=Gate.CALL, call=one).verdict)

    assert (terms().verdict, terms().obligations.steps_max) == (Verdict.ALLOWED, 9)
    for other in (terms(target="other-host"), terms("diagnose_monitoring"), terms(effect=Effect.CHANGE)):
        assert other.verdict is Verdict.BLOCKED
    assert call("lab_host", "read_load_average") == call("lab_api", "read_api_version") == "allowed"
    assert call("lab_host", "read_nothing") == call("zabbix_api", "read_disaster") == "blocked"


def test_rules_about_calls_are_imported_with_their_environment_or_named(lab: Lab) -> None:
    alone, nobody = lab.folder / "alone.yaml", lab.folder / "nobody.yaml"
    alone.write_text(
        yaml.safe_dump(yaml.safe_load(lab.environment.read_text())["environment"]["policy_pack"])
    )
    nobody.write_text(lab.environment.read_text().replace("  profile: seedlab\n", ""))

    for source, profile, said in (
        (alone, None, r"alone.yaml:\d+: `action.backend` is about single calls"),
        (alone, "seedlab", "leave `--profile` out"),
        (nobody, None, "give `--profile`"),
    ):
        with pytest.raises(ImportRefused, match=said):
            import_pack(source, lab.folder / "never", "approvers", profile)
    assert not (lab.folder / "never").exists()
    assert import_pack(nobody, lab.folder / "named", "approvers", "seedlab").ref.id == "seedlab-readonly"


@contextmanager
def with_device(lab: Lab, backend: str = "seedlab_device") -> Iterator[tuple[Lab, Path, list[bytes]]]:
    """Give an environment with the device in it, a file its backend would write, and what it was sent."""
    mark, said = lab.folder / "mark", list[bytes]()

    class Device(StreamRequestHandler):
        def handle(self) -> None:
            said.append(self.rfile.readline())
            self.wfile.write(b"fine\n")

    with TCPServer(("127.0.0.1", 0), Device) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        device = DEVICE.format(backend=backend, port=server.server_address[1], mark=mark)
        text = lab.environment.read_text().replace("  safety:\n", device, 1)
        path = lab.folder / "device.yaml"
        path.write_text(text)
        try:
            yield replace(lab, environment=path), mark, said
        finally:
            server.shutdown()


@pytest.mark.parametrize("mode", ["read_only", "dry_run"])
def test_a_backend_that_makes_calls_of_its_own_is_refused_and_never_imported(lab: Lab, mode: str) -> None:
    with with_device(lab) as (site, mark, said), pytest.raises(BackendRefused) as caught:
        site.run(site.ask("probe_device", mode=mode))

    error = caught.value
    assert (error.code, error.facts["found"], error.facts["connector"]) == (
        "backend-refused",
        "seedlab_device",
        "lab_device",
    )
    assert "`seedlab`" in error.message and "say the call as data" in error.message
    assert "connectors/lab_device.yaml" in error.message and error.next_steps
    assert not mark.exists() and said == [] and "seedlab.connectors" not in sys.modules
    with opened(lab.folder) as instance:
        assert all(row.intent != "probe_device" for row in instance.list(limit=1000))


def test_a_backend_that_no_package_has_is_another_error_and_says_what_is_meant(lab: Lab) -> None:
    connector = lab.package / "profile" / "connectors" / "lab_device.yaml"
    whole = connector.read_text()
    connector.write_text(whole.replace("seedlab_device", "static_fixtur"))
    try:
        with with_device(lab, "static_fixtur") as (site, _, _), pytest.raises(LaneUnavailable) as caught:
            site.run(site.ask("probe_device"))
    finally:
        connector.write_text(whole)

    assert caught.value.code == "lane-unavailable" and "did you mean `static_fixture`" in caught.value.message


@needs("bwrap")
def test_other_intents_of_such_a_package_and_environment_run(lab: Lab) -> None:
    with with_device(lab) as (site, mark, said):
        state, _, _, findings = site.run(site.ask("check_api_version"))

    assert (state, findings, mark.exists(), said) == ("completed", [], False, [])


def test_the_call_said_as_data_is_planned(lab: Lab) -> None:
    answers = "      actions: {read_device: {data: {line: fine}}}\n"
    fixture = f"    lab_device:\n      backend: static_fixture\n{answers}"
    path = lab.folder / "fixture.yaml"
    rule = "      - rule_id: deny-mutation\n"
    allow = (
        "      - {rule_id: device, effect: allow, conditions: {action.intent: probe_device}}\n"
        "      - {rule_id: device-call, effect: allow, conditions: {action.connector: lab_device}}\n"
    )
    text = lab.environment.read_text().replace("  safety:\n", f"{fixture}  safety:\n", 1)
    path.write_text(text.replace(rule, allow + rule))
    site = replace(lab, environment=path)

    with opened(lab.folder) as instance:
        view = asyncio.run(instance.plan(site.ask("probe_device")))
        assert view.state == "approved" and '"line":"fine"' in instance.preview(view.operation_id)


def test_backends_of_packages_are_listed_where_people_look(lab: Lab) -> None:
    assert show_profile("seedlab").backends == ("http_api", "seedlab_device")
    assert show_profile("hello").backends == ()
    warnings = [one.message for one in lint_profile("seedlab") if "seedlab_device" in one.message]
    assert len(warnings) == 1 and "`lab_device`: nothing here makes calls by" in warnings[0]
    with with_device(lab) as (site, _, _):
        (found,) = lint_environment(site.environment)
    assert found.severity == "warning" and "`seedlab_device`" in found.message
    with opened(lab.folder) as instance:
        (line,) = [one for one in instance.check().checks if one.name == "backends"]
    assert line.status == "warning" and "`seedlab_device` of package `seedlab`" in line.message


@needs("bwrap")
def test_handlers_that_changed_since_the_plan_do_not_run(lab: Lab) -> None:
    code = lab.package / "contracts.py"
    whole = code.read_text()

    async def go() -> str:
        with opened(lab.folder) as instance:
            view = await instance.plan(lab.ask(INVENTORY))
            code.write_text(whole + "\n# Another word.\n")
            with pytest.raises(PlanDrifted, match="the profile has other redactions or handlers"):
                await instance.start(view.operation_id)
            view = await instance.start(view.operation_id, as_planned=True)
            found = [sealed.record for sealed in records(instance, view.operation_id)]
            ends = [
                one for one in found if isinstance(one, Outcome) and one.step == "normalize_host_inventory"
            ]
            return f"{view.state} {ends[0].message}"

    try:
        said = asyncio.run(go())
    finally:
        code.write_text(whole)

    assert said.startswith("failed the code of the handlers `seedlab` is")


def test_the_snapshot_of_a_profile_names_the_code_of_its_handlers(lab: Lab) -> None:
    found = find_profile("seedlab")
    profile = load_profile(found.files)

    assert profile.handlers is not None and profile.handlers.name == "seedlab"
    assert profile.digest != load_profile(read_folder(found.folder)).digest
    assert find_profile(str(found.folder)).files == found.files
    assert named_in_files(None) == {}


def test_what_was_left_out_as_planned_is_no_failure() -> None:
    outputs = {
        str(end): StepOutput(ended=end) for end in (Ended.OK, Ended.SKIPPED, Ended.FAILED, Ended.REFUSED)
    }

    found = failures_of(outputs, {"failed": ("timeout", "no answer in 10 s")})

    assert found == {
        "failed": {"error_class": "timeout", "error": "no answer in 10 s"},
        "refused": {"error_class": "refused", "error": "refused"},
    }


def asked(entry: str, *actions: str) -> dict[str, Json]:
    steps: list[Json] = [{"id": action, "type": "internal", "action": action} for action in actions]
    more: dict[str, Json] = {"operation_id": "op", "target": "t", "mode": "read_only", "steps": steps}
    return {"entry": entry, **more}


def test_a_package_that_wants_what_is_not_installed_still_gives_its_handlers(tmp_path: Path) -> None:
    package = tmp_path / "wanting"
    package.mkdir()
    (package / "__init__.py").write_text("import govengine_that_is_nowhere\n")
    (package / "actions.py").write_text(
        "from rexecop.execution.backend import StepExecutionContext\n"
        "def register():\n"
        "    def look(context: StepExecutionContext) -> dict:\n"
        "        context.shared_state['seen'] = {'n': 1.5, 'big': 2 ** 60, 'pair': (1, 2)}\n"
        "        return context.shared_state['seen']\n"
        "    def steal(context):\n"
        "        context.shared_state['parameters'] = {}\n"
        "        return {}\n"
        "    def give(context):\n"
        "        return {'only': 'returned'}\n"
        "    def odd(context):\n"
        "        context.shared_state['odd'] = object()\n"
        "        return {}\n"
        "    return {'look': look, 'steal': steal, 'give': give, 'odd': odd}\n"
    )
    entry, where = "wanting.actions:register", str(tmp_path)
    try:
        said = answer({**asked(entry, "look"), "path": where})
        assert said["facts"] == {"seen": {"n": "1.5", "big": str(2**60), "pair": [1, 2]}}
        assert answer({**asked(entry), "path": where})["actions"] == ["give", "look", "odd", "steal"]
        assert answer({**asked(entry, "look", "give"), "path": where})["facts"] == {
            "give": {"only": "returned"}
        }
        assert "which is not its own" in str(answer({**asked(entry, "steal"), "path": where})["error"])
        assert "no JSON" in str(answer({**asked(entry, "odd"), "path": where})["error"])
        assert "no handler `nope`" in str(answer({**asked(entry, "nope"), "path": where})["error"])
        assert "ModuleNotFoundError" in str(answer(asked("nowhere.at:all", "look"))["error"])
    finally:
        sys.path.remove(str(tmp_path))
        for name in ("wanting", "wanting.actions"):
            sys.modules.pop(name, None)
