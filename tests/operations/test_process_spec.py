"""What a profile says of the processes of an action, and what becomes of it in a plan."""

import pytest

from rexecop.operations.errors import CommandGuarded, ConnectorRefused, IsolationUnavailable, ProfileRefused
from rexecop.operations.lint import lint_profile
from rexecop.operations.planning import PlanDraft, PlanRequest, compile_plan
from rexecop.operations.profile import load_profile
from rexecop.proof.call import ProcessRequest, ResourceLimits, Script, Terminal
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Grade, Isolation, Mode
from tests.operations.folders import environment

TEXT = 'cat "$1"\n'
INTERPRETER = digest_of(b"the shell")
RULES = """\
validation_rule:
  intent: look
  steps: [{type: require_equals, path: look.ended, value: ok}]
"""
FILES = {
    "profile.yaml": 'profile_contract: {name: box, version: "1"}\n',
    "intents/look.yaml": "intent: {id: look, workflow: workflows/look.yaml}\n",
    "workflows/look.yaml": "workflow:\n  steps: [{id: look, type: connector, connector: box}]\n",
    "validation_rules/look.yaml": RULES,
    "scripts/show.sh": TEXT,
}
ACTION = "{effect: read, command: cat, args: [/etc/hostname]%s}"
SCRIPT = "{interpreter: /bin/sh, file: scripts/show.sh, digest: %s, args: ['{target.host}']%s}"
REACHED = dict.fromkeys(Isolation, True)


def profile(look: str, **others: str) -> dict[str, bytes]:
    actions = {"look": look, **others}
    lines = "".join(f"    {name}: {action}\n" for name, action in actions.items())
    connector = f"connector:\n  name: box\n  capabilities: [{', '.join(actions)}]\n  actions:\n{lines}"
    return {path: text.encode() for path, text in {**FILES, "connectors/box.yaml": connector}.items()}


def planned(
    look: str,
    reached: dict[Isolation, bool] = REACHED,
    interpreter: Digest | None = INTERPRETER,
    **others: str,
) -> CallStep:
    where = environment(
        "environment:\n  id: here\n  targets: {box: {type: host, attributes: {host: DB.Example}}}\n"
        "  connectors: {box: {backend: process}}\n"
    )
    request = PlanRequest(intent="look", target="box", mode=Mode.READ_ONLY, parameters={})
    draft: PlanDraft = compile_plan(
        request, load_profile(profile(look, **others)), where, reached, observed=lambda path: interpreter
    )
    (step,) = draft.steps
    assert isinstance(step, CallStep)
    return step


def request(step: CallStep) -> ProcessRequest:
    assert isinstance(step.call.request, ProcessRequest)
    return step.call.request


def script(more: str = "", digest: Digest | None = None) -> str:
    return f"{{effect: read, script: {SCRIPT % (digest or digest_of(TEXT.encode()), more)}}}"


class TestSurroundings:
    def test_what_the_action_says_is_in_the_plan(self) -> None:
        more = (
            ', tty: {rows: 30}, umask: "0027", user: nobody, rlimits: {open_files: 50}, memory_bytes: 1000, '
            "processes: 5, grace: 2s, raw_output_bytes: 1073741824"
        )
        step = planned(ACTION % more)

        assert request(step).tty == Terminal(rows=30, columns=80)
        assert (request(step).umask, request(step).user) == ("0027", "nobody")
        assert request(step).rlimits == ResourceLimits(open_files=50)
        limits = step.limits
        assert (limits.memory_bytes, limits.processes, limits.grace_ms) == (1_000, 5, 2_000)
        assert limits.raw_output_bytes == 1 << 30

    def test_an_action_that_says_nothing_asks_for_nothing(self) -> None:
        plain = ProcessRequest(argv=("cat", "/etc/hostname"))

        assert request(planned(ACTION % "")) == plain

    @pytest.mark.parametrize(
        "more",
        [
            *(", umask: 27", ', umask: "27"', ", tty: yes", ", tty: {rows: 0}", ", rlimits: {files: 1}"),
            *(", rlimits: {open_files: 0}", ", egress: db.example:443", ", egress: [db.example]"),
            *(", egress: ['{target.host}']", ", user: 'a b'", ", processes: 0", ", raw_output_bytes: 0"),
        ],
    )
    def test_what_makes_no_sense_is_refused_with_its_place(self, more: str) -> None:
        with pytest.raises(ProfileRefused, match=r"connectors/box.yaml:\d+: "):
            planned(ACTION % more)


class TestEgress:
    MORE = ", egress: ['{target.host}:443', 'a.example:25', 'a.example:25']"

    def test_hosts_are_lower_case_in_order_and_each_once(self) -> None:
        assert request(planned(ACTION % self.MORE)).egress == ("a.example:25", "db.example:443")

    def test_a_read_that_reaches_a_host_is_not_contained(self) -> None:
        step = planned(ACTION % self.MORE)

        assert (step.isolation, step.grade) == (Isolation.BUBBLEWRAP, Grade.SHAPE)
        assert planned(ACTION % ", egress: []").grade is Grade.CONTAINED

    @pytest.mark.parametrize("isolation", ["none", "rlimits", "landlock-seccomp", "gvisor"])
    def test_a_class_that_cannot_hold_it_is_refused_when_it_is_planned(self, isolation: str) -> None:
        with pytest.raises(IsolationUnavailable, match="cannot hold"):
            planned(ACTION % f"{self.MORE}, isolation: {isolation}")

    def test_it_is_refused_where_bubblewrap_was_not_reached(self) -> None:
        with pytest.raises(IsolationUnavailable):
            planned(ACTION % self.MORE, reached={**REACHED, Isolation.BUBBLEWRAP: False})

    def test_what_a_value_makes_of_a_host_is_looked_at(self) -> None:
        with pytest.raises(ConnectorRefused, match="host:port"):
            planned(ACTION % ", egress: ['{target.host}/x:443']")


class TestIsolation:
    @pytest.mark.parametrize("isolation", [Isolation.BUBBLEWRAP_CGROUP, Isolation.GVISOR])
    def test_best_never_comes_to_what_is_for_those_who_name_it(self, isolation: Isolation) -> None:
        assert planned(ACTION % "").isolation is Isolation.BUBBLEWRAP
        assert planned(ACTION % f", isolation: {isolation}").isolation is isolation

    def test_a_read_in_a_control_group_is_contained(self) -> None:
        assert planned(ACTION % ", isolation: bubblewrap-cgroup").grade is Grade.CONTAINED


class TestScripts:
    def test_text_and_interpreter_are_pinned(self) -> None:
        step = planned(script(", files: {a: 'host={target.host}'}, actions: [look]"))

        assert request(step).argv == ("/bin/sh", "DB.Example")
        assert request(step).script == Script(
            interpreter=INTERPRETER,
            digest=digest_of(TEXT.encode()),
            text=TEXT,
            files={"a": "host=DB.Example"},
            actions=("look",),
        )

    def test_the_script_travels_with_the_profile_and_changes_its_digest(self) -> None:
        files = profile(script())
        other = {**files, "scripts/show.sh": b"another"}

        assert load_profile(files).digest != load_profile(other).digest
        assert load_profile(files).interpreters == ("/bin/sh",)

    def test_another_text_than_its_digest_says_is_refused(self) -> None:
        with pytest.raises(ConnectorRefused, match=r"scripts/show\.sh"):
            planned(script(digest=digest_of(b"another")))

    def test_an_interpreter_that_cannot_be_read_is_refused(self) -> None:
        with pytest.raises(ConnectorRefused, match="interpreter"):
            planned(script(), interpreter=None)

    def test_an_action_it_says_it_does_is_no_more_than_its_own(self) -> None:
        change = "{effect: change, command: touch, args: [/srv/x]}"
        with pytest.raises(ConnectorRefused, match="is a change"):
            planned(script(", actions: [look, alter]"), alter=change)
        with pytest.raises(ConnectorRefused, match="no action"):
            planned(script(", actions: [unheard_of]"))

    @pytest.mark.parametrize(
        "broken",
        [
            script().replace("/bin/sh", "sh"),
            script().replace("scripts/", ""),
            script().replace("sha256:", ""),
            script().replace("effect: read", "effect: read, command: cat"),
            script(", env: {A: b}"),
            script(", files: {'../x': y}"),
        ],
    )
    def test_what_makes_no_sense_is_refused_with_its_place(self, broken: str) -> None:
        with pytest.raises(ProfileRefused, match=r"connectors/box.yaml:\d+: "):
            planned(broken)

    def test_a_shell_line_does_not_come_in_by_the_interpreter(self) -> None:
        with pytest.raises(CommandGuarded, match="hands text to a shell"):
            planned(script().replace("'{target.host}'", "-c, id"))


def test_lint_looks_into_hosts_and_files() -> None:
    good = profile(
        script(", files: {a: '{env.value}'}").replace("effect", "egress: ['{env.host}:1'], effect")
    )
    findings = [found for found in lint_profile(good) if found.severity == "error"]

    assert findings == []


def test_a_script_that_does_not_say_what_it_does_is_refused() -> None:
    with pytest.raises(ConnectorRefused, match="effect"):
        planned(script().replace("effect: read, ", ""))
