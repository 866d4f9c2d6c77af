"""Whatever stands in the files, the answer is a plan or one clear refusal, never a traceback."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.operations.environment import load_environment
from rexecop.operations.golden import golden_cases, run_case
from rexecop.operations.lint import lint_environment, lint_profile
from rexecop.operations.profile import load_profile
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Mode
from tests.operations.folders import (
    ENVIRONMENTS,
    FIXTURE,
    HELLO,
    HELLO_ENVIRONMENT,
    SEED_ENVIRONMENT,
    environment_file,
    folder,
    plan,
    seed,
)

ODD = st.sampled_from(
    [
        *("", "null", "true", "0", "-1", "1.5", "[]", "{}", "[[]]", "{a: {}}", "[null]", "text", "'{x}'"),
        *('"{target.x}"', '"{env.y}"', "'@'", "..", "99999999999", "'" + "x" * 5000 + "'", '"\\n"', "a b"),
        *("read_name", "look", "group", "'(('", "'(?P<value>.*)'", "/a/b", "best", "process", "http"),
    ]
)


def broken(data: st.DataObject, text: str) -> str:
    """Return `text` with up to three values, keys or lines made odd."""
    lines = text.split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _value = lines[at].partition(":")
        match data.draw(st.sampled_from(["value", "line", "double", "key", "inline"])):
            case "value" if colon:
                lines[at] = f"{key}: {data.draw(ODD)}"
            case "line":
                lines[at] = ""
            case "double":
                lines.insert(at, lines[at])
            case "key":
                lines[at] = lines[at].replace(key.strip(" -"), data.draw(ODD), 1) if key.strip(" -") else "x"
            case _:
                lines[at] = lines[at].replace(", ", f", {data.draw(ODD)}: ", 1)
    return "\n".join(lines)


@settings(max_examples=24)
@given(data=st.data())
def test_a_broken_profile_is_refused_or_planned_and_lint_says_so_first(data: st.DataObject) -> None:
    base = data.draw(st.sampled_from([seed(), folder(HELLO), folder(FIXTURE)]))
    path = data.draw(st.sampled_from(sorted(path for path in base if path.endswith(".yaml"))))
    files = {**base, path: broken(data, base[path].decode()).encode()}

    errors = [found for found in lint_profile(files) if found.severity == "error"]
    try:
        profile = load_profile(files)
        for case in golden_cases(files):
            run_case(case, profile, files)
    except RexecopError as error:
        assert "\n" not in error.message
        return
    assert errors == [] or profile.intents


@settings(max_examples=24)
@given(data=st.data())
def test_a_broken_environment_is_refused_or_planned(data: st.DataObject) -> None:
    profile = load_profile(seed())
    text = broken(data, SEED_ENVIRONMENT)
    files = {"site.yaml": text.encode()}

    lint_environment(files, profile)
    try:
        plan(profile, load_environment(files), "look", "pair", Mode.READ_ONLY)
    except RexecopError as error:
        assert "\n" not in error.message


@settings(max_examples=16)
@given(data=st.data())
def test_a_profile_that_lints_without_errors_plans_every_intent(data: st.DataObject) -> None:
    base = folder(data.draw(st.sampled_from([HELLO, FIXTURE])))
    path = data.draw(
        st.sampled_from(sorted(path for path in base if path.startswith(("work", "norm", "conn"))))
    )
    files = {**base, path: broken(data, base[path].decode()).encode()}
    if any(found.severity == "error" for found in lint_profile(files)):
        return
    profile = load_profile(files)
    here = environment_file(HELLO_ENVIRONMENT)
    if profile.name == "tecrax":
        here = environment_file(ENVIRONMENTS / "small-public-unit-proxmox.example.yaml")

    for name, intent in profile.intents.items():
        parameters = {"greeting": "x"} if intent.parameters is not None else {}
        target = "localhost" if profile.name == "hello" else "vm-pbs-01"
        plan(profile, here, name, target, Mode.DRY_RUN, parameters)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(data: bytes) -> None:
    for path in ("profile.yaml", "intents/look.yaml", "normalizers/look.yaml"):
        try:
            load_profile({**seed(), path: data})
        except RexecopError as error:
            assert "\n" not in error.message
