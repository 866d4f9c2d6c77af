"""Rundeck jobs, exported as YAML, as a draft profile: one intent for each job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from contrib.drafts import (
    DEFAULT_TIMEOUT,
    Draft,
    Plain,
    Profile,
    Untranslatable,
    name_of,
    plain_words,
    prelude,
)
from contrib.values import table, text
from rexecop.execution.strict_yaml import Yaml, load_yaml

OPTION: Final = re.compile(r"\$\{option\.([A-Za-z0-9_-]+)\}")
IN_SCRIPT: Final = re.compile(r"@option\.([A-Za-z0-9_-]+)@")
OTHER: Final = re.compile(r"\$\{(?:job|node|export|data|globals)\.[^}]*\}|@(?:job|node|data|globals)\.[^@]*@")
SHELLS: Final = ("/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/dash")
# What belongs to the server, its nodes or its plug-ins, and where it goes here.
ELSEWHERE: Final[Mapping[str, str]] = {
    "schedule": "put it into `schedules.yaml` of the root (`rexecop schedule add`)",
    "schedules": "put it into `schedules.yaml` of the root (`rexecop schedule add`)",
    "notification": "who is told stands in `notify.yaml` of the root",
    "nodefilters": "on what it runs is said by the targets of an environment",
    "retry": "how often a call is tried again is said by `retry` of its step, for reads",
    "orchestrator": "in which order hosts follow is said by `waves` of the workflow",
    "plugins": "plug-ins of the server are not translated",
    "multipleExecutions": "changes of one target keep each other out here",
}


def imported(data: bytes, source: str, name: str) -> Profile:
    """Return the jobs in `data` as a draft profile called `name`.

    Raises:
        Untranslatable: these are no jobs. YamlRefused: it is no YAML that can be read strictly.
    """
    value = load_yaml(data, source=source).value
    jobs = [job for job in value if isinstance(job, dict)] if isinstance(value, list) else []
    if not jobs or not all(isinstance(job.get("sequence"), dict) for job in jobs):
        raise Untranslatable(f"{source} is no list of Rundeck jobs, each with a `sequence`")
    profile = Profile(name, source)
    pairs = [(profile.draft(text(job.get("name"))), job) for job in jobs]
    drafts: dict[str, Draft] = {}
    for draft, job in pairs:
        drafts.setdefault(text(job.get("name")), draft)
    for draft, job in pairs:
        _job(draft, job, drafts)
    return profile


def _job(draft: Draft, job: Mapping[str, Yaml], drafts: Mapping[str, Draft]) -> None:
    draft.summary = text(job.get("description"))
    options = _options(draft, job.get("options"))
    for key, why in ELSEWHERE.items():
        if job.get(key):
            draft.note(f"`{key}` was left out: {why}")
    sequence, timeout = table(job["sequence"]), _timeout(draft, text(job.get("timeout")))
    if sequence.get("keepgoing") in (True, "true"):
        draft.note("`keepgoing` was left out: after a change that failed nothing more is done")
    commands = sequence.get("commands")
    for n, command in enumerate(commands if isinstance(commands, list) else [], 1):
        _command(draft, n, table(command), options, timeout, drafts)


def _options(draft: Draft, value: Yaml) -> dict[str, str | None]:
    """Return the parameter of each option, None for what is a secret."""
    found: dict[str, str | None] = {}
    listed = (
        value
        if isinstance(value, list)
        else [{"name": name, **table(one)} for name, one in table(value).items()]
    )
    for option in map(table, listed):
        name = text(option.get("name"))
        if any(option.get(key) for key in ("secure", "storagePath", "valueExposed")):
            words = "name it in `secrets` of the connector, and use `{secret.NAME}`"
            draft.note(f"option `{name}` is secret: {words}")
            found[name] = None
            continue
        parameter = found[name] = name_of(name, draft.parameters)
        shape: dict[str, Plain] = {"type": "string", "maxLength": 1000}
        if text(option.get("description")):
            shape["description"] = " ".join(text(option.get("description")).split())[:200]
        if option.get("enforced") in (True, "true") and isinstance(option.get("values"), list):
            shape["enum"] = [text(one) for one in cast("Sequence[Yaml]", option["values"])]
        if (written := text(option.get("regex"))) and _is_pattern(written):
            shape["pattern"] = f"^(?:{written})$"
        elif written:
            draft.note(f"option `{name}` has a pattern that is none here: {written[:100]}")
        if option.get("multivalued") in (True, "true"):
            draft.note(f"option `{name}` had several values: they are one text here")
        if "value" in option:
            shape["default"] = text(option["value"])
        elif option.get("required") in (True, "true"):
            draft.required.append(parameter)
        else:
            shape["default"] = ""
        draft.parameters[parameter] = shape
    return found


def _is_pattern(written: str) -> bool:
    try:
        re.compile(written)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _command(
    draft: Draft,
    n: int,
    command: Mapping[str, Yaml],
    options: Mapping[str, str | None],
    timeout: str,
    drafts: Mapping[str, Draft],
) -> None:
    title = text(command.get("description")) or f"step {n}"
    if command.get("errorhandler"):
        draft.note(f"step {n} ({title}) had an error handler, which was left out")
    if isinstance(command.get("jobref"), dict):
        _job_reference(draft, title, table(command["jobref"]), drafts)
    elif text(command.get("exec")):
        _line(draft, title, text(command["exec"]), options, timeout)
    elif text(command.get("script")):
        if command.get("args"):
            draft.missing(title, "arguments of a script were not translated")
            return
        interpreter = text(command.get("scriptInterpreter"))
        _script(draft, title, text(command["script"]), interpreter, options, timeout)
    else:
        kind = next((key for key in ("scriptfile", "scripturl", "type") if command.get(key)), "its kind")
        draft.missing(title, f"`{kind}: {text(command.get(kind)) or '?'}` was not translated")


def _job_reference(draft: Draft, title: str, named: Mapping[str, Yaml], drafts: Mapping[str, Draft]) -> None:
    other = drafts.get(text(named.get("name")))
    if other is None or other is draft or named.get("args"):
        words = "it has arguments" if named.get("args") else "that job is not in the file"
        draft.missing(title, f"it calls the job `{text(named.get('name'))}`: {words}")
    else:
        draft.operation(title, other.name, {})


def _line(draft: Draft, title: str, line: str, options: Mapping[str, str | None], timeout: str) -> None:
    """Translate a line of a shell: exact words where it is no more than that, else a script."""
    if (why := _unknown(line, OPTION, options)) is not None:
        draft.missing(title, why)
        return
    words = plain_words(OPTION.sub("", line))
    if words is not None and not IN_SCRIPT.search(line):
        split = [OPTION.sub(lambda found: f"{{{options[found[1]]}}}", word) for word in line.split()]
        if not split[0].startswith("{"):
            draft.command(title, split, timeout)
            return
    _written(draft, title, line, "/bin/sh", OPTION, options, timeout)


def _script(
    draft: Draft, title: str, body: str, interpreter: str, options: Mapping[str, str | None], timeout: str
) -> None:
    first = body.split("\n", 1)[0]
    named = interpreter or (first[2:].strip() if first.startswith("#!") else "/bin/sh")
    shell = named.split()[-1] if named.startswith("/usr/bin/env ") else named.split()[0]
    shell = shell if shell.startswith("/") else f"/bin/{shell}"
    if shell not in SHELLS:
        draft.missing(title, f"its interpreter is `{named}`, no shell: write its script into `scripts/`")
    elif (why := _unknown(body, IN_SCRIPT, options)) is not None:
        draft.missing(title, why)
    else:
        _written(draft, title, body, shell, IN_SCRIPT, options, timeout)


def _written(
    draft: Draft,
    title: str,
    body: str,
    shell: str,
    place: re.Pattern[str],
    options: Mapping[str, str | None],
    timeout: str,
) -> None:
    """Add a script in which options are variables: their values are never part of its text."""
    variables = {variable_of(name): parameter for name, parameter in options.items() if parameter is not None}
    used = {name: one for name, one in variables.items() if name in body or place.search(body)}
    if place.search(body):
        draft.note(f"in `{title}` options were put into the text; they are variables now: look at the quotes")
    before, args = prelude(used)
    draft.script(
        title,
        before + place.sub(lambda found: f"${{{variable_of(found[1])}}}", body) + "\n",
        shell,
        args,
        timeout,
    )


def variable_of(option: str) -> str:
    """Return the variable that Rundeck gives a script for an option."""
    return f"RD_OPTION_{re.sub('[^A-Za-z0-9]', '_', option).upper()}"


def _unknown(body: str, place: re.Pattern[str], options: Mapping[str, str | None]) -> str | None:
    """Return why what `body` refers to is not there, if so."""
    if (found := OTHER.search(body)) is not None:
        return f"it uses `{found[0]}`, which is known to the server alone"
    for name in place.findall(body):
        if options.get(name) is None:
            return f"it uses the option `{name}`, which is secret or not there"
    return None


def _timeout(draft: Draft, written: str) -> str:
    found = re.fullmatch(r"([0-9]{1,5})([smh]?)", written)
    if written and found is None:
        draft.note(f"`timeout: {written}` was left out: say it at each action")
    return f"{found[1]}{found[2] or 's'}" if found else DEFAULT_TIMEOUT
