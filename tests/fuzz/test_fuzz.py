"""A bounded share of `script/fuzz`, and what it has found: texts that once ended in a crash, or took long."""

from __future__ import annotations

import os
import time

import pytest

from portgate.core.diagnostics import Diagnostic, PortgateError
from tests.fuzz.run import failure_of, run, shrunk
from tests.fuzz.targets import TARGETS, Target

INPUTS = int(os.environ.get("PORTGATE_INPUTS", "150"))
BY_NAME = {one.name: one for one in TARGETS}
LOOPS = 9
FOUND = [
    ("pf", "block return-icmp("),
    ("pf", "pass in from any to any frobnicate\n" * 700),
    ("ss", "tcp LISTEN 0 8 *:5 *:* ino:4294967296 sk:1"),
    ("ipfw", "add allow ip from nobody.example to any\n" * 700),
    (
        "ipfw",
        "#!/bin/sh\n"
        + "for a in 1 2 3 4 5 6 7; do\n" * LOOPS
        + "ipfw add allow ip from $a to any\n"
        + "done\n" * LOOPS,
    ),
    ("ipfw", "table , add 10.0.0.1\n"),
    ("nft", "table ip t { " + "}}{" * 6000),
    ("nft", "table ip t {\nchain c {\ntype filter hook input priority 0;\n" + "limit rate 5/minute drop\n" * 700 + "}\n}\n"),
    ("iptables-save", "*filter\n:INPUT ACCEPT\n" + "-A INPUT -m limit --limit 5/min -j DROP\n" * 700 + "COMMIT\n"),
    ("proc-net", ""),
    ("proc-net", "head\n\n"),
    ("proc-net", "head\n 0: 0000000:0016 00000000:0000 0A 0:0 0:0 0 x 0 12 1\n"),
    ("proc-status", "Name:\tsshd\n"),
    ("proc-status", "Name:\tsshd\nUid:\troot\n"),
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=[one.name for one in TARGETS])
def test_damaged_texts_are_read_or_refused_in_time(target: Target) -> None:
    tally = run(target, "bounded", range(max(1, round(INPUTS * target.share))))
    assert tally.finds == {}
    assert tally.refused < tally.inputs


@pytest.mark.parametrize(("name", "text"), FOUND, ids=range(len(FOUND)))
def test_what_was_found_once_is_not_found_again(name: str, text: str) -> None:
    assert failure_of(BY_NAME[name], text) is None


# ------------------------------------------------------------------ the fuzzer itself


def test_a_crash_is_found_and_made_smaller() -> None:
    def read(text: str) -> int:
        return len(text) // (0 if "iptables" in text else 1)

    target = Target("ss", read)
    failure = failure_of(target, "some words\nabout iptables and others\n")
    assert failure == "ZeroDivisionError, outside of portgate"
    assert (
        shrunk("some words\nabout iptables and others\n", lambda text: failure_of(target, text) == failure)
        == "iptables"
    )


def test_what_takes_long_is_found() -> None:
    def read(_: str) -> None:
        begun = time.process_time()
        while time.process_time() < begun + 1.1:
            pass

    assert failure_of(Target("ss", read), "a") == "takes long"


def test_a_refusal_is_none_of_these_unless_portgate_calls_it_its_own_bug() -> None:
    def refusing(code: str) -> Target:
        def read(_: str) -> None:
            raise PortgateError(Diagnostic(code, "why"))

        return Target("ss", read)

    assert failure_of(refusing("PG413"), "a") is None
    assert failure_of(refusing("PG902"), "a") == "its own bug: PG902: why"


def test_an_input_is_the_same_whenever_it_is_made() -> None:
    seen: list[list[str]] = [[], []]
    for one in seen:
        run(Target("ss", one.append), "again", range(20))
    assert seen[0] == seen[1] and len(set(seen[0])) > 15
