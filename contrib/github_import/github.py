"""A workflow of GitHub Actions as a draft profile: one intent for each job, and one that calls them all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from contrib.drafts import DEFAULT_TIMEOUT, Draft, Plain, Profile, Untranslatable, name_of, prelude
from contrib.values import table, text
from rexecop.execution.strict_yaml import Yaml, load_yaml

INPUT: Final = re.compile(r"\$\{\{ *(?:github\.event\.)?inputs\.([A-Za-z0-9_-]+) *\}\}")
EXPRESSION: Final = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
# How the runner calls each shell, as text at the head of the script.
SHELLS: Final[Mapping[str, tuple[str, str]]] = {
    "": ("/bin/bash", "set -e\n"),
    "bash": ("/bin/bash", "set -eo pipefail\n"),
    "sh": ("/bin/sh", "set -e\n"),
}
OF_JOB: Final[Mapping[str, str]] = {
    "strategy": "a matrix makes several jobs of one; call the intent once for each",
    "services": "services beside a job are not started here",
    "container": "a job in a container is not started in one here",
    "environment": "who has to approve is said by policy",
    "concurrency": "changes of one target keep each other out here",
    "permissions": "what it may do elsewhere is said by the secrets it is given",
}


def imported(data: bytes, source: str, name: str) -> Profile:
    """Return the workflow in `data` as a draft profile called `name`.

    Raises:
        Untranslatable: it is no workflow. YamlRefused: it is no YAML that can be read strictly.
    """
    flow = table(load_yaml(data, source=source).value)
    jobs = {key: table(job) for key, job in table(flow.get("jobs")).items()}
    if not jobs:
        raise Untranslatable(f"{source} is no workflow: it has no `jobs`")
    profile = Profile(name, source)
    if flow.get("on"):
        profile.note("what starts it (`on`) was left out: see `schedules.yaml`, `webhooks.yaml` and triggers")
    inputs = _inputs(flow.get("on"))
    drafts = {key: profile.draft(text(job.get("name")) or key) for key, job in jobs.items()}
    for key, job in jobs.items():
        _job(drafts[key], job, table(flow.get("env")), table(flow.get("defaults")), inputs)
    if len(jobs) > 1:
        _all(profile, text(flow.get("name")) or name, jobs, drafts)
    return profile


def _inputs(on: Yaml) -> dict[str, dict[str, Plain]]:
    """Return what somebody who starts the workflow may say, as parameters."""
    found: dict[str, dict[str, Plain]] = {}
    for trigger in ("workflow_dispatch", "workflow_call"):
        for name, value in table(table(table(on).get(trigger)).get("inputs")).items():
            one = table(value)
            shape: dict[str, Plain] = {"type": "string", "maxLength": 1000}
            if text(one.get("description")):
                shape["description"] = " ".join(text(one.get("description")).split())[:200]
            options = one.get("options")
            if isinstance(options, list):
                shape["enum"] = [text(each) for each in options]
            if "default" in one or one.get("required") is not True:
                shape["default"] = text(one.get("default", "false" if one.get("type") == "boolean" else ""))
            found[name] = shape
    return found


def _job(
    draft: Draft,
    job: Mapping[str, Yaml],
    environ: Mapping[str, Yaml],
    defaults: Mapping[str, Yaml],
    inputs: Mapping[str, dict[str, Plain]],
) -> None:
    for key, why in OF_JOB.items():
        if job.get(key):
            draft.note(f"`{key}` was left out: {why}")
    if job.get("runs-on"):
        where = text(job.get("runs-on")) or "…"
        draft.note(f"`runs-on: {where}` was left out: an environment says where it runs")
    if job.get("if"):
        draft.missing("condition", f"the job ran only if `{text(job.get('if'))}`")
    run = {**table(defaults.get("run")), **table(table(job.get("defaults")).get("run"))}
    variables = {**environ, **table(job.get("env"))}
    steps = job.get("steps")
    if job.get("uses") or not isinstance(steps, list):
        draft.missing("call", f"the job is that of another workflow (`uses: {text(job.get('uses')) or '?'}`)")
        return
    for n, step in enumerate(map(table, steps), 1):
        _step(draft, n, step, {**run, **step}, {**variables, **table(step.get("env"))}, inputs)


def _step(
    draft: Draft,
    n: int,
    step: Mapping[str, Yaml],
    how: Mapping[str, Yaml],
    variables: Mapping[str, Yaml],
    inputs: Mapping[str, dict[str, Plain]],
) -> None:
    title = text(step.get("name")) or text(step.get("id")) or f"step {n}"
    shell, body = text(how.get("shell")), text(step.get("run"))
    used = {key: text(value) for key, value in variables.items()}
    odd = next((key for key in used if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key)), None)
    if not body:
        draft.missing(
            title, f"`uses: {text(step.get('uses')) or '?'}` is code of others and was not translated"
        )
    elif step.get("if"):
        draft.missing(title, f"it ran only if `{text(step.get('if'))}`: write it with a `when`")
    elif shell not in SHELLS:
        draft.missing(title, f"its shell is `{shell}`")
    elif odd is not None:
        draft.missing(title, f"`{odd}` is no name of a variable")
    elif (why := _unknown(body, *used.values(), inputs=inputs)) is not None:
        draft.missing(title, why)
    else:
        if step.get("continue-on-error"):
            words = "was gone on after (`continue-on-error`); here nothing is done after a change that failed"
            draft.note(f"`{title}` {words}")
        folder = text(how.get("working-directory"))
        _script(draft, title, body, shell, used, f"cd -- {_quoted(folder)}\n" if folder else "", step, inputs)


def _script(
    draft: Draft,
    title: str,
    body: str,
    shell: str,
    variables: Mapping[str, str],
    folder: str,
    step: Mapping[str, Yaml],
    inputs: Mapping[str, dict[str, Plain]],
) -> None:
    """Add the script: inputs are variables in it, so that their values are never part of its text."""
    texts = [body, *variables.values()]
    names = dict.fromkeys(name for one in texts for name in INPUT.findall(one))
    for name in names:
        parameter = name_of(name)
        draft.parameters[parameter] = inputs[name]
        if "default" not in inputs[name] and parameter not in draft.required:
            draft.required.append(parameter)
    if INPUT.search(body):
        draft.note(f"in `{title}` inputs were put into the text; they are variables now: look at the quotes")
    plain = {key: value for key, value in variables.items() if not INPUT.search(value)}
    before, args = prelude({_variable(name): name_of(name) for name in names}, plain)
    before += "".join(
        f'export {key}="{INPUT.sub(lambda found: f"${{{_variable(found[1])}}}", value)}"\n'
        for key, value in variables.items()
        if key not in plain
    )
    interpreter, head = SHELLS[shell]
    script = head + before + folder + INPUT.sub(lambda found: f"${{{_variable(found[1])}}}", body)
    draft.script(title, script.rstrip("\n") + "\n", interpreter, args, _timeout(step))


def _unknown(*texts: str, inputs: Mapping[str, dict[str, Plain]]) -> str | None:
    """Return why what is referred to is not there, if so."""
    for one in texts:
        for name in INPUT.findall(one):
            if name not in inputs:
                return f"it uses the input `{name}`, which the workflow does not declare"
        left = INPUT.sub("", one)
        if (found := EXPRESSION.search(left)) is not None:
            secret = "secrets." in found[0]
            words = (
                "name it in `secrets` of the connector" if secret else "which is known to the runner alone"
            )
            return f"it uses `{found[0]}`: {words}"
        if one is not texts[0] and INPUT.search(one) and re.search(r'["`$\\\\]', left):
            return "a variable mixes an input with text that a shell would read"
    return None


def _all(
    profile: Profile, title: str, jobs: Mapping[str, Mapping[str, Yaml]], drafts: Mapping[str, Draft]
) -> None:
    """Add the intent that calls every job, each behind those it needs."""
    whole, left = profile.draft(f"{title} all"), dict(jobs)
    while left:
        ready = [key for key, job in left.items() if not any(one in left for one in _needed(job))]
        if not ready:
            raise Untranslatable("its jobs need each other in a circle")
        for key in ready:
            for name, shape in drafts[key].parameters.items():
                whole.parameters[name] = shape
            whole.required += [name for name in drafts[key].required if name not in whole.required]
            whole.operation(key, drafts[key].name, {name: f"{{{name}}}" for name in drafts[key].parameters})
            del left[key]


def _needed(job: Mapping[str, Yaml]) -> list[str]:
    needs = job.get("needs")
    return [text(one) for one in needs] if isinstance(needs, list) else [text(needs)] if needs else []


def _variable(name: str) -> str:
    return f"INPUT_{re.sub('[^A-Za-z0-9]', '_', name).upper()}"


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _timeout(step: Mapping[str, Yaml]) -> str:
    minutes = text(step.get("timeout-minutes"))
    return f"{minutes}m" if minutes.isdigit() and 0 < int(minutes) <= 1440 else DEFAULT_TIMEOUT
