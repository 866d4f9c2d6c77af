"""What a policy pack may be, and the one line that says what is wrong with one that may not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.execution.errors import YamlRefused
from rexecop.governance import demo_pack, starter
from rexecop.governance.errors import EntitiesWrong, PackRefused, PackTooLarge, PackUnsigned
from rexecop.governance.golden import read_cases, run_cases
from rexecop.governance.lint import lint
from rexecop.governance.pack import FILE_BYTES_MAX, FILES_MAX, POLICY_NAMESPACE, RULES_MAX, Pack
from rexecop.governance.schema import SCHEMA
from rexecop.proof import sshsig
from rexecop.proof.canonical import digest_of
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, Obligations
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role
from tests.governance.cases import KEYS, MINUTE, NOW, enrolled, pack_files

GOOD = '@id("a") permit (principal, action, resource);'
WHEN = '@id("a") permit (principal, action, resource) when {{ {} }};'


def test_the_shipped_packs_are_good_and_named_by_the_digest_of_their_bytes() -> None:
    for files in (starter.files("alice", ["o'brien", "bob"]), demo_pack.FILES):
        pack = Pack.parse(files)

        assert pack.ref.digest == digest_of(pack.data)


def test_the_digest_covers_every_file_and_not_their_order() -> None:
    files = pack_files(GOOD)
    same = dict(reversed(files.items()))

    assert Pack.parse(same).ref == Pack.parse(files).ref
    for path in files:
        changed = files | {path: files[path] + (b"# x\n" if path.endswith("yaml") else b"// x\n")}
        assert Pack.parse(changed).ref.digest != Pack.parse(files).ref.digest
    assert Pack.parse(files | {"README.md": b"words"}).ref.digest != Pack.parse(files).ref.digest


def test_annotations_are_understood_at_load() -> None:
    pack = Pack.parse(
        pack_files(
            '// why\n@id("a")\n@reason("night only; \\"quoted\\"")\n'
            '@approvals("1 of sre, 2 of dba, 2 of sre")\n'
            '@obligations("output_bytes<=8192, timeout<=10s, no_network, receipt, isolation>=bubblewrap")\n'
            'permit (principal, action, resource); // after; "all"',
            entities="groups: [sre, dba]",
        )
    )
    (rule,) = pack.rules

    assert rule.line == 2
    assert rule.reason == 'night only; "quoted"'
    assert rule.asked.rules == (ApprovalRule(count=2, group="dba"), ApprovalRule(count=2, group="sre"))
    assert rule.obligations == Obligations(
        output_bytes=8192, timeout_ms=10_000, no_network=True, receipt=True, isolation="bubblewrap"
    )


def test_conflicts_of_interest_are_understood_at_load() -> None:
    text = "1 of sre, at_most 2 of dba, at_most 1 of dba, no_peers of sre, sponsor_may_approve"
    text += ", session_may_approve"
    rule = f'@id("a") @approvals("{text}") permit (principal, action, resource);'

    (found,) = Pack.parse(pack_files(rule, entities="groups: [sre, dba]")).rules

    assert found.asked.limits == (ApprovalLimit(at_most=1, group="dba"),)
    assert (found.asked.no_peers, found.asked.sponsor, found.asked.session) == (("sre",), True, True)


@pytest.mark.parametrize("entry", ["at_most 0 of sre", "at_most of sre", "no_peers 1 of sre", "session_may"])
def test_a_conflict_rule_that_says_nothing_known_is_refused(entry: str) -> None:
    rule = f'@id("a") @approvals("1 of sre, {entry}") permit (principal, action, resource);'

    with pytest.raises(PackRefused, match=r"rules\.cedar:1"):
        Pack.parse(pack_files(rule, entities="groups: [sre]"))


def test_whoever_is_escalated_to_is_a_group_of_the_pack() -> None:
    rule = '@id("a") @approvals("1 of sre") @escalate("leads after 4h") permit (principal, action, resource);'
    (found,) = Pack.parse(pack_files(rule, entities="groups: [sre, leads]")).rules
    assert [one.group for one in found.escalations] == ["leads"]
    with pytest.raises(PackRefused, match='Group::"leads"'):
        Pack.parse(pack_files(rule, entities="groups: [sre]"))


def test_a_version_is_taken_as_written() -> None:
    files = pack_files(GOOD) | {"pack.yaml": b"id: test\nversion: 1.10\n"}

    assert Pack.parse(files).ref.version == "1.10"


RULES = [
    ("policy-malformed", "permit (principal, action", "rules.cedar:1"),
    ("policy-malformed", GOOD + "\n\npermit;", "rules.cedar:3"),
    ("policy-malformed", GOOD + '\n@id("b', "rules.cedar:2"),
    ("policy-malformed", GOOD + ")", "rules.cedar:1"),
    ("policy-malformed", WHEN.format("(" * 5000 + "true" + ")" * 5000), "deeper"),
    ("policy-malformed", WHEN.format(" && ".join(["true"] * 200)), "nesting"),
    ("policy-malformed", WHEN.format("context" + ".a" * 7000), "more than 500 dots"),
    ("policy-malformed", WHEN.format("context has " + ".".join(["a"] * 7000)), "more than 500 dots"),
    ("policy-malformed", WHEN.format(" + ".join(["1"] * 3000) + " == 1"), "more than 500 dots"),
    ("policy-annotation-wrong", '@absent("permits") ' + GOOD, "is all that can be said"),
    (
        "policy-annotation-wrong",
        '@absent("yes") @id("f") forbid (principal, action, resource);',
        "is all that can be said",
    ),
    ("policy-malformed", '@id("a") permit (principal == ?principal, action, resource);', "templates"),
    ("policy-malformed", GOOD.replace('"a"', '"a\u202e"'), "U+202E"),
    ("pack-too-large", WHEN.format(f'context.intent == "{"x" * 20_000}"'), "characters"),
    ("policy-annotation-wrong", "permit (principal, action, resource);", "@id"),
    ("policy-annotation-wrong", '@id("") permit (principal, action, resource);', "@id"),
    ("policy-annotation-wrong", GOOD + "\n" + GOOD, "rules.cedar:2"),
    ("policy-malformed", '@id("a") @id("b") permit (principal, action, resource);', "duplicate"),
    ("policy-annotation-wrong", '@aproval("1 of sre") ' + GOOD, "aproval"),
    ("policy-annotation-wrong", '@escalate("sre after 4h") ' + GOOD, "nothing to escalate"),
    ("policy-annotation-wrong", '@approvals("1 of sre") @escalate("sre in 4h") ' + GOOD, "like `sre-leads"),
    ("policy-annotation-wrong", '@approvals("1 of") ' + GOOD, "`1 of`"),
    ("policy-annotation-wrong", '@approvals("0 of sre") ' + GOOD, "0 of"),
    ("policy-annotation-wrong", '@approvals("17 of sre") ' + GOOD, "more than 16"),
    ("policy-annotation-wrong", '@approvals("1 of sre,") ' + GOOD, "empty"),
    ("policy-annotation-wrong", '@obligations("no_netwrk") ' + GOOD, "no_netwrk"),
    ("policy-annotation-wrong", '@obligations("isolation>=paper") ' + GOOD, "paper"),
    ("policy-annotation-wrong", '@obligations("timeout<=0s") ' + GOOD, "timeout"),
    ("policy-annotation-wrong", '@reason("a\\nb") ' + GOOD, "one line"),
    (
        "policy-annotation-wrong",
        '@approvals("1 of sre") @id("f") forbid (principal, action, resource);',
        "forbids",
    ),
    ("policy-invalid", WHEN.format("principal.nmae == 1"), "nmae"),
    ("policy-invalid", WHEN.format("context.mode == 3"), "rules.cedar:1"),
    ("policy-invalid", WHEN.format('context.parameters.getTag("x") == "1"'), "rules.cedar:1"),
    ("policy-invalid", '@id("a") permit (principal, action == Action::"erase", resource);', "erase"),
    ("policy-invalid", '@id("a") permit (principal is Robot, action, resource);', "Robot"),
    ("entities-wrong", '@id("a") permit (principal in Group::"nobody", action, resource);', "nobody"),
    ("entities-wrong", '@id("a") permit (principal == User::"bob", action, resource);', "bob"),
    ("entities-wrong", WHEN.format('resource in TargetGroup::"nowhere"'), "nowhere"),
    ("entities-wrong", '@approvals("1 of nobody") ' + GOOD, "nobody"),
]


@pytest.mark.parametrize(("code", "rules", "words"), RULES)
def test_a_policy_that_may_not_be_is_refused_with_code_and_place(code: str, rules: str, words: str) -> None:
    with pytest.raises(PackRefused) as refused:
        Pack.parse(pack_files(rules))

    assert refused.value.code == code
    assert words in refused.value.message
    assert refused.value.message.startswith("rules.cedar:")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("code", "requirement"),
    [
        ("policy-malformed", '@id("r") @reason("x") forbid (principal, action, resource);'),
        ("policy-annotation-wrong", '@id("r") permit (principal, action, resource);'),
        ("policy-annotation-wrong", '@id("a") @obligations("receipt") permit (principal, action, resource);'),
    ],
)
def test_a_requirement_is_a_permit_that_asks_for_something_under_its_own_id(
    code: str, requirement: str
) -> None:
    with pytest.raises(PackRefused) as refused:
        Pack.parse(pack_files(GOOD, requirement))

    assert refused.value.code == code
    assert refused.value.message.startswith("requirements/all.cedar:1")


@pytest.mark.parametrize(
    "entities",
    [
        "- alice",
        "peple: {}",
        "people: [alice]",
        "people: {alice: {group: []}}",
        "people: {alice: {groups: [sre]}}",
        "people: {alice: {}, ALICE: {}}",
        "people: {engine: {}}",
        "people: {alice: {}}\nservices: [alice]",
        "people: {' alice': {}}",
        "agents: {bot: {}}",
        "agents: {bot: {sponsor: alice}}",
        "groups: [a, a]",
        "groups: ['a b']",
        "groups: [1]",
        "groups: sre",
    ],
)
def test_entities_that_are_not_clear_are_refused(entities: str) -> None:
    with pytest.raises(EntitiesWrong, match=r"entities\.yaml:\d"):
        Pack.parse(pack_files(GOOD, entities=entities))


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("id: test\n", "version"),
        ("version: '1'\n", "`id`"),
        ("id: a b\nversion: '1'\n", "`id`"),
        ("id: test\nversion: '1'\nowner: me\n", "owner"),
        ("id: test\nversion: '1'\nvalidity: {until: x}\n", "validity"),
        ("id: test\nversion: '1'\nvalidity: {not_after: 2026-02-30}\n", "2026-02-30"),
        ("id: test\nversion: '1'\nvalidity: {not_after: tomorrow}\n", "tomorrow"),
        ("just words", "mapping"),
    ],
)
def test_a_manifest_that_is_not_clear_is_refused(manifest: str, words: str) -> None:
    with pytest.raises(PackRefused) as refused:
        Pack.parse(pack_files(GOOD) | {"pack.yaml": manifest.encode()})

    assert refused.value.code == "pack-manifest-wrong"
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("pack-file-unknown", {"requirement/x.cedar": b""}),
        ("pack-file-unknown", {"rules.ceder": b""}),
        ("pack-file-unknown", {"../rules.cedar": b""}),
        ("pack-file-unknown", {"a/b/c.cedar": b""}),
        ("policy-malformed", {"b.cedar": b"\xff"}),
        ("pack-refused", {"schema.cedarschema": b"entity User;"}),
        ("pack-too-large", {"b.cedar": b" " * (FILE_BYTES_MAX + 1)}),
        ("pack-too-large", {f"{n}.cedar": b"" for n in range(FILES_MAX)}),
        ("pack-too-large", {f"{n}.cedar": b" " * FILE_BYTES_MAX for n in range(9)}),
    ],
)
def test_files_that_would_be_ignored_or_are_too_much_are_refused(code: str, files: dict[str, bytes]) -> None:
    with pytest.raises(PackRefused) as refused:
        Pack.parse(pack_files(GOOD) | files)

    assert refused.value.code == code


def test_a_pack_needs_its_manifest_and_strict_yaml_and_may_carry_the_schema() -> None:
    files = pack_files(GOOD)

    assert Pack.parse(files | {"schema.cedarschema": SCHEMA.encode()}).rules
    with pytest.raises(PackRefused, match="missing"):
        Pack.parse({path: data for path, data in files.items() if path != "pack.yaml"})
    with pytest.raises(YamlRefused):
        Pack.parse(files | {"entities.yaml": b"people: &a {}"})


@pytest.mark.parametrize("name", ["", " alice", "a\nb", "x" * 200])
def test_the_starter_pack_is_not_written_for_a_name_that_is_none(name: str) -> None:
    with pytest.raises(EntitiesWrong):
        starter.files(name)


def test_a_pack_of_too_many_policies_is_refused_before_they_are_parsed() -> None:
    many = ";" * (RULES_MAX + 1)

    with pytest.raises(PackTooLarge, match=f"{RULES_MAX + 1} policies"):
        Pack.parse(pack_files(many))


# --- signatures ---


def signed_pack(by: str, over: str | None = None, namespace: str = POLICY_NAMESPACE) -> Pack:
    files = pack_files(GOOD)
    message = over or str(Pack.parse(files).ref.digest)
    return Pack.parse(files | {"pack.sig": sshsig.sign(KEYS[by], namespace, message.encode()).encode()})


def test_a_signature_is_over_the_digest_and_no_part_of_it() -> None:
    signed = signed_pack("bob")

    assert signed.ref == Pack.parse(pack_files(GOOD)).ref
    assert signed.signed([enrolled("bob", role=Role.ISSUER)]).signed_by == enrolled("bob", role=Role.ISSUER)


@pytest.mark.parametrize(
    ("pack", "keys", "words"),
    [
        (Pack.parse(pack_files(GOOD)), [enrolled("bob", role=Role.ISSUER)], "missing"),
        (
            Pack.parse(pack_files(GOOD) | {"pack.sig": b"\xff"}),
            [enrolled("bob", role=Role.ISSUER)],
            "no signature",
        ),
        (signed_pack("bob", over="sha256:" + "0" * 64), [enrolled("bob", role=Role.ISSUER)], "no signature"),
        (
            signed_pack("bob", namespace="approval@rexecop"),
            [enrolled("bob", role=Role.ISSUER)],
            "no signature",
        ),
        (signed_pack("bob"), [enrolled("bob", role=Role.APPROVER)], "nobody who issues"),
        (signed_pack("bob"), [enrolled("carol", role=Role.ISSUER)], "nobody who issues"),
        (signed_pack("bob"), [enrolled("bob", role=Role.ISSUER, revoked=NOW)], "revoked"),
    ],
)
def test_a_pack_that_no_issuer_signed_is_refused(pack: Pack, keys: list[Enrolment], words: str) -> None:
    with pytest.raises(PackUnsigned, match=words):
        pack.signed(keys)


def test_a_signed_pack_holds_as_long_as_the_key_that_signed_it() -> None:
    pack = signed_pack("bob").signed([enrolled("bob", role=Role.ISSUER, expires=NOW)])

    assert pack.invalid_at(NOW - MINUTE) is None
    assert "key of `bob`" in str(pack.invalid_at(NOW))


SNIPPETS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["(", "{", "[", '"', "//", ";", "@id", "unless {", "has ", "!", "- ", ": ", "&a", "\\u{", "\0"]
    ),
)


@given(
    path=st.sampled_from(sorted(starter.commented_files("house", "alice"))),
    at=st.floats(0, 1),
    cut=st.integers(0, 40),
    snippet=SNIPPETS,
)
@settings(max_examples=60, deadline=None)
def test_a_file_that_was_altered_anywhere_is_a_pack_or_one_line(
    path: str, at: float, cut: int, snippet: str
) -> None:
    files = starter.commented_files("house", "alice")
    text = files[path].decode()
    place = int(at * len(text))
    altered = (text[:place] + snippet + text[place + cut :]).encode("utf-8", "surrogatepass")
    try:
        pack = Pack.parse(files | {path: altered})
        lint(pack)
        run_cases(read_cases(files | {path: altered}, pack), pack)
    except (PackRefused, YamlRefused) as error:
        assert "\n" not in error.message
        assert error.facts["source"] == path or path in error.message or "entities.yaml" in error.message
        assert error.code
