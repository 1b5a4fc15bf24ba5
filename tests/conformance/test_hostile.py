"""Names, comments and interface names that others chose never become syntax, in any language that portgate writes.

What the language of policies refuses already (ids, control characters) is given to the backends all the same.
"""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from portgate import backends, language
from portgate.backends import Backend
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.net import TCP, AddressSet
from portgate.core.policy import Default, Forward, Grant, Limit, Peer, Policy, Rulebook, Traffic, Unit
from portgate.core.ruleset import Ruleset
from portgate.report.diagnostics import render
from tests.compile.worlds import TODAY, sayable
from tests.conformance.conftest import Inside
from tests.conformance.writers import WRITERS, Writer, unequal

NASTY = (
    '"', "'", "`touch /tmp/obeyed`", "$(touch /tmp/obeyed)", "${x}", "$nr", ";", "|", "&", "\n", "\r\n", "\t", "\\", "\\\n", "#", "//", "/*",
    "{", "}", "(", ")", "<", ">", ",", "!", "*", "%s", "\x00", "\x1b[2J", "\x9b31m", "\u202e", "\u2028", "é", " ", "\nCOMMIT\n*filter\n",
    "\n-A INPUT -j ACCEPT\n", '" accept comment "', '"\npass quick all\n#', "\nadd 1 allow ip from any to any\n", "flush ruleset", "label", "--", "-F",
)  # fmt: skip
PIECES = st.one_of(st.sampled_from(NASTY), st.characters(), st.sampled_from("abc019._-"))
WORDS = st.lists(PIECES, min_size=1, max_size=12).map("".join)
INTERFACES = st.lists(PIECES, min_size=1, max_size=6).map("".join)
SOME = AddressSet.of("10.0.0.1", "10.0.0.3", "2001:db8::/48")
MANY = AddressSet(tuple((number << 10, number << 10) for number in range(11 << 14, (11 << 14) + 80)))


def policy(word: str, interface: str = "em0") -> Policy:
    """Has the words wherever a policy has text of its author's."""
    named, listed = Peer((), SOME, word), Peer((), MANY, word)
    ssh = (Traffic(TCP, 22, 22),)
    allow = (
        Grant(f"a{word}", ssh, (named,), log=True, note=word, owner=word),
        Grant(f"b{word}", (Traffic(TCP, 80, 90),), (Peer((interface,), SOME, word),)),
        Grant(f"c{word}", (Traffic(TCP, 25, 25),), limit=Limit(10, Unit.MINUTE)),
    )
    out = (Grant(f"d{word}", ssh, (), (named,)),)
    forwards = (Forward(Grant(f"e{word}", (Traffic(TCP, 8081, 8081),)), None, 8080),)
    inbound = Rulebook(Default.DROP, block=(Grant(f"f{word}", sources=(listed,)),), allow=allow)
    return Policy(word, inbound, Rulebook(Default.ACCEPT, block=out), word, forwards)


def desired(writer: Writer, wanted: Policy) -> Ruleset:
    return compile_policy(sayable(wanted, writer.backend), TODAY)


def written(writer: Writer, wanted: Policy) -> str | None:
    """None when it is refused."""
    try:
        return writer.text(desired(writer, wanted))
    except PortgateError as refused:
        assert all(one.code.startswith("PG3") for one in refused.diagnostics)
        return None


@pytest.mark.parametrize("writer", WRITERS, ids=str)
@settings(max_examples=25)
@given(word=WORDS)
def test_words_of_others_change_neither_the_shape_nor_the_meaning(writer: Writer, word: str) -> None:
    plain, found = written(writer, policy("word")), written(writer, policy(word))
    assert plain is not None
    if found is None:
        return
    assert all(one.isprintable() or one in "\n\t" for one in found)
    assert len(found.splitlines()) == len(plain.splitlines())
    assert writer.unequal(desired(writer, policy("word")), found) == []


@pytest.mark.parametrize("writer", WRITERS, ids=str)
@settings(max_examples=25)
@given(interface=INTERFACES)
def test_the_name_of_an_interface_is_written_so_that_it_is_read_back_or_refused(writer: Writer, interface: str) -> None:
    try:
        wanted = desired(writer, policy("word", interface))
    except ValueError:  # no interface can have this name
        return
    if (found := written(writer, policy("word", interface))) is not None:
        assert writer.unequal(wanted, found) == []


# ------------------------------------------------------------------ a file, with hostile words in one place after the other

PLACES = ("name", "description", "zone", "addresses", "file", "service", "interface", "id", "note", "owner")


def loaded(place: str, word: str) -> language.Loaded:
    """A policy that is harmless but for one place."""
    words = {**dict.fromkeys(PLACES, "word"), "interface": "em0", place: word}
    document = {
        "portgate": 1,
        "name": words["name"],
        "description": words["description"],
        "zones": {words["zone"]: {"interfaces": [words["interface"]]}},
        "addresses": {f"x{words['addresses']}": {"file": f"lists/{words['file']}"}},
        "services": {f"s{words['service']}": ["8000/tcp"]},
        "inbound": {
            "allow": [
                {"port": f"s{words['service']}", "from": f"x{words['addresses']}", "id": words["id"], "note": words["note"],
                 "owner": words["owner"]},
                {"port": "ssh", "from": words["zone"]},
            ]
        },
    }  # fmt: skip
    files = {"policy.yaml": yaml.safe_dump(document, allow_unicode=True).encode()}

    def read(path: str) -> bytes:
        return files.get(path, b"192.0.2.10\n198.51.100.0/24\n2001:db8::/48\n")

    return language.load("policy.yaml", read, TODAY)


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=8)
@given(word=WORDS)
def test_a_policy_with_hostile_words_is_refused_in_the_clear_or_written_as_a_plain_one(place: str, word: str) -> None:
    found, plain = loaded(place, word), loaded(place, "em0" if place == "interface" else "word")
    assert all(one.isprintable() or one == "\n" for one in render(found.diagnostics, found.sources))
    assert plain.policy is not None
    if found.policy is None:
        assert found.diagnostics
        return
    for writer in WRITERS:
        text = written(writer, found.policy)
        assert text is None or all(one.isprintable() or one in "\n\t" for one in text)
        if place not in ("interface", "zone", "addresses", "id"):
            assert text == written(writer, plain.policy)
        elif text is not None:
            assert writer.unequal(desired(writer, found.policy), text) == []


# ------------------------------------------------------------------ the real parsers


@pytest.fixture(params=sorted(backends.names()))
def backend(request: pytest.FixtureRequest) -> Backend:
    return backends.get(request.param)


@pytest.mark.kernel
def test_the_real_program_takes_them_for_nothing_but_words(backend: Backend, inside: Inside) -> None:
    def body() -> None:
        session, writer = backend.session(), Writer(backend, None)
        session.load(backend.emit(desired(writer, policy("word"))))
        others = backend.parse(session.read()).foreign()
        for word in (*NASTY, "".join(NASTY)):
            wanted = policy(word)
            if written(writer, wanted) is None:
                continue
            rules = desired(writer, wanted)
            session.check(backend.emit(rules))
            session.load(backend.emit(rules))
            live = backend.parse(session.read())
            assert unequal(rules, live.owned()) == [], ascii(word)
            assert live.foreign() == others, ascii(word)

    inside(body)
