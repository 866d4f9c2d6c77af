"""Every command, once: help, completion, dispatch and the reference pages read this table.

It holds words only, so that help and a mistyped command load no command at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GROUPS: Final = ("try", "run", "approve", "prove")
MORE: Final = "more"  # Listed by `help all` only.


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One command: `group` is where help shows it, `module` holds it."""

    name: str
    group: str
    summary: str
    example: str

    @property
    def module(self) -> str:
        return f"rexecop.cli.commands.{self.name.replace('-', '_')}"


def _entry(name: str, group: str, summary: str, example: str) -> Entry:
    return Entry(name=name, group=group, summary=summary, example=example)


ENTRIES: Final = (
    _entry("demo", "try", "a tour of everything on this very machine", "rexecop demo --keep tour"),
    _entry("init", "try", "make a runtime root: keys, policy and a profile to begin with", "rexecop init"),
    _entry("doctor", "try", "check the root, the keys and what this machine can do", "rexecop doctor"),
    _entry(
        "run",
        "try",
        "plan, ask, start and report, in one go",
        "rexecop run host_facts localhost --mode read_only --yes",
    ),
    _entry("examples", "try", "the example profiles and environments", "rexecop examples copy here"),
    _entry(
        "plan",
        "run",
        "say what would run, on what, needing whose approval",
        "rexecop plan --intent show_greeting --target localhost",
    ),
    _entry("exec", "run", "run one command on a target", "rexecop exec localhost --yes -- uname -a"),
    _entry("terminal", "run", "a session where each line is governed", "rexecop terminal localhost"),
    _entry("tui", "run", "the operator's console in a terminal", "rexecop tui"),
    _entry("start", "run", "run an operation that may run", "rexecop start @ --timeout 60"),
    _entry("status", "run", "where an operation stands", "rexecop status @"),
    _entry("list", "run", "operations, newest first", "rexecop list --state waiting_for_approval"),
    _entry("ops", "run", "what needs a person now", "rexecop ops"),
    _entry("watch", "run", "an operation while it runs", "rexecop watch @"),
    _entry("history", "run", "the records of an operation, in order", "rexecop history @"),
    _entry("logs", "run", "what the calls of an operation put out", "rexecop logs @"),
    _entry("validate", "run", "judge the result again; changes nothing", "rexecop validate @"),
    _entry("rollback", "run", "undo what an operation changed", "rexecop rollback @ --reason 'wrong host'"),
    _entry("diff", "approve", "what changed since the plan", "rexecop diff @"),
    _entry("why", "approve", "why an operation is as it is, or would be", "rexecop why @"),
    _entry("show", "approve", "the plan, exactly as an approver sees it", "rexecop show @"),
    _entry(
        "approve",
        "approve",
        "sign a yes with your own key",
        "rexecop approve @ --key approver.key --reason 'read it' --yes",
    ),
    _entry(
        "deny",
        "approve",
        "sign a no with your own key",
        "rexecop deny @ --key approver.key --reason 'not now' --yes",
    ),
    _entry(
        "standing",
        "approve",
        "approve beforehand what may be done again, within bounds",
        "rexecop standing list",
    ),
    _entry(
        "delegate",
        "approve",
        "give your vote to somebody, until a date",
        "rexecop delegate list",
    ),
    _entry(
        "export", "prove", "cut a bundle that a stranger can check", "rexecop export @ --output proof.rxb"
    ),
    _entry("verify", "prove", "check a bundle, offline", "rexecop verify proof.rxb"),
    _entry("receipt", "prove", "the signed receipt of an operation", "rexecop receipt show @"),
    _entry("evidence", "prove", "records as evidence: what rests on what", "rexecop evidence show @"),
    _entry("log", "prove", "the ledger's log: checkpoints and proofs", "rexecop log verify"),
    _entry("keys", "prove", "keys of this instance and of its people", "rexecop keys list"),
    _entry(
        "halt",
        MORE,
        "stop every further permit, until it is lifted",
        "rexecop halt --scope target:db-1 --reason 'odd writes'",
    ),
    _entry("queue", MORE, "who waits to be started, for what; drain", "rexecop queue"),
    _entry("locks", MORE, "which targets are locked, by which operations", "rexecop locks"),
    _entry("worker", MORE, "start what may start, go on with what was left", "rexecop worker run --once"),
    _entry("runtime", MORE, "workers, capacity, what runs and waits", "rexecop runtime status"),
    _entry(
        "trigger",
        MORE,
        "ask for a plan from a script, by flags or as JSON",
        "rexecop trigger --intent show_greeting --target localhost",
    ),
    _entry(
        "reaction-plan",
        MORE,
        "plan what follows from what an operation observed",
        "rexecop reaction-plan --operation @ --env here/examples/environments/monitoring-site.example.yaml",
    ),
    _entry("reaction-start", MORE, "run what a reaction planned", "rexecop reaction-start --reaction @"),
    _entry(
        "reaction-explain", MORE, "what follows, and by which rules", "rexecop reaction-explain --operation @"
    ),
    _entry(
        "reaction-replay",
        MORE,
        "ask the rules again: of a reaction, or of a day",
        "rexecop reaction-replay --reaction @",
    ),
    _entry(
        "reaction-proposal",
        MORE,
        "what a program suggests: checked, shown, never run",
        "rexecop reaction-proposal validate --profile tecrax --proposal proposal.json",
    ),
    _entry("schedule", MORE, "what is planned by the clock, and when next", "rexecop schedule list"),
    _entry("dead-letter", MORE, "triggers that could not be planned", "rexecop dead-letter list"),
    _entry("windows", MORE, "when changes may run, now and this week", "rexecop windows"),
    _entry("pause", MORE, "stop before the next step", "rexecop pause @ --reason 'wait for the day shift'"),
    _entry("resume", MORE, "go on with a paused operation", "rexecop resume @"),
    _entry("retry", MORE, "try a failed operation again", "rexecop retry @ --reason 'disk freed'"),
    _entry("cancel", MORE, "give up an operation before it acts", "rexecop cancel @ --reason 'not needed'"),
    _entry("escalate", MORE, "hand an operation to people", "rexecop escalate @ --reason 'needs a look'"),
    _entry(
        "reconcile",
        MORE,
        "settle an unknown outcome, by looking or by a statement",
        "rexecop reconcile @ --outcome happened --reason 'saw it on the console'",
    ),
    _entry(
        "artifact",
        MORE,
        "approvals of requests to `rexecop serve`, for tests and issuers",
        "rexecop artifact mint --action echo --tenant t1 --key approver.key",
    ),
    _entry("notify", MORE, "who is told how, and what was not taken", "rexecop notify list"),
    _entry("replay", MORE, "drive a recorded operation again, touching nothing", "rexecop replay @"),
    _entry("review", MORE, "what a person must look at afterwards", "rexecop review list"),
    _entry("profile", MORE, "look at profiles and check them", "rexecop profile list"),
    _entry("runbook", MORE, "what to do about an intent", "rexecop runbook show check_memory --profile site"),
    _entry("schema", MORE, "schemas of the files people write, for editors", "rexecop schema intent"),
    _entry("env", MORE, "check environments", "rexecop env lint environment.yaml"),
    _entry("targets", MORE, "the targets of a catalog", "rexecop targets list --catalog targets.yaml"),
    _entry("operations", MORE, "what a profile offers, for which targets", "rexecop operations list"),
    _entry("catalog", MORE, "check catalogs of targets", "rexecop catalog lint targets.yaml"),
    _entry("secrets", MORE, "where secrets are, never what they are", "rexecop secrets doctor"),
    _entry("policy", MORE, "check, test, try and adopt packs of rules", "rexecop policy check"),
    _entry("backup", MORE, "copies that prove themselves, and roots from them", "rexecop backup create b1"),
    _entry("recover", MORE, "name damaged records; let a moved root go on", "rexecop recover"),
    _entry(
        "evidence", MORE, "erase outputs, by a record", "rexecop evidence erase @ --rule 30d --reason asked"
    ),
    _entry("gc", MORE, "what need not be kept goes; every proof stays", "rexecop gc --older-than 90d"),
    _entry("support", MORE, "a signed file for whoever helps", "rexecop support bundle --redacted"),
    _entry("serve", MORE, "the HTTP service", "rexecop serve --port 5000"),
    _entry("token", MORE, "who may do what at the service", "rexecop token new deploy --role operator"),
    _entry(
        "gateway", MORE, "MCP servers and APIs of others, governed", "rexecop gateway accept notes.yaml --yes"
    ),
    _entry("mcp", MORE, "intents as tools of an agent, over MCP", "rexecop mcp --agent triage-bot"),
    _entry(
        "guest", MORE, "run programs here for who holds a grant", "rexecop guest grants --grants grants.json"
    ),
    _entry(
        "node",
        MORE,
        "run programs here for an instance, by its permits",
        "rexecop node --connect https://ops.example --key node.key --instance instance.pub --state node",
    ),
    _entry("metrics", MORE, "figures of the root, for Prometheus", "rexecop metrics"),
    _entry("version", MORE, "the version", "rexecop version"),
    _entry("help", MORE, "help on a command, or `help all`", "rexecop help all"),
    _entry("completion", MORE, "a completion script for your shell", "rexecop completion bash"),
)

BY_NAME: Final = {entry.name: entry for entry in ENTRIES}

# Names that people bring from the tools this one unites.
ALIASES: Final = {"explain": "why", "explain-error": "why"}

# The same commands as others spell them, in one word or in two.
SPELLINGS: Final = {
    "reaction explain": "reaction-explain",
    "reaction plan": "reaction-plan",
    "reaction start": "reaction-start",
    "reaction replay": "reaction-replay",
    "reaction-proposal-validate": "reaction-proposal validate",
    "reaction-proposal-review": "reaction-proposal review",
    "reaction-proposal-submit": "reaction-proposal submit",
}
