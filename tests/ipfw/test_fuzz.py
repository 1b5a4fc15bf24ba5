"""Any text is read, or refused with a diagnostic; nothing makes reading take long."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.core.diagnostics import PortgateError
from portgate.core.net import Family
from portgate.core.semantics import Analysis
from tests.ipfw.test_parse import CALLS, SCRIPT, SHOWN, TABLE
from tests.ipfw.texts import read

WORDS = [
    "add",
    "delete",
    "flush",
    "set",
    "table",
    "nat",
    "pipe",
    "swap",
    "move",
    "rule",
    "to",
    "from",
    "any",
    "me",
    "me6",
    "not",
    "or",
    "{",
    "}",
    "(",
    ")",
    "tcp",
    "udp",
    "ip",
    "ip6",
    "icmp",
    "allow",
    "deny",
    "skipto",
    "call",
    "return",
    "count",
    "check-state",
    "keep-state",
    "limit",
    "src-addr",
    "1",
    "100",
    "65535",
    "99999999999999999999",
    "0",
    "in",
    "out",
    "via",
    "recv",
    "xmit",
    "em0",
    "lo0",
    "em*",
    "22",
    "22,80",
    "1-2",
    "2-1",
    "ssh",
    "10.0.0.0/8",
    "10.0.0.0/99",
    "10.0.0.1:255.0.255.0",
    "10.0.0.0/24{1,300}",
    "fe80::1%em0",
    "::/0",
    "table(a)",
    "table(a,5)",
    "table(",
    ":x",
    ":any",
    "//",
    "#",
    "$x",
    "${x}",
    "$((1+1))",
    "create",
    "type",
    "iface",
    "addr",
    "number",
    "fwd",
    "127.0.0.1,80",
    "prob",
    "0.5",
    "log",
    "logamount",
    "tcpflags",
    "syn,!ack",
    "icmptypes",
    "8,300",
    "established",
    "frag",
    "uid",
    "root",
    "ipfw",
    "-q",
    "-f",
    "/sbin/ipfw",
    "if",
    "then",
    "else",
    "fi",
    "for",
    "do",
    "done",
    "case",
    "esac",
    ";;",
    ";",
    "&&",
    "||",
    "|",
    "x=1",
    "x=$x$x",
    "f()",
    "'",
    '"',
    "`",
    "\\",
    "\n",
    "\n",
    "\n",
    "\t",
    "---",
]
soup = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), max_size=60).map(" ".join)
starts = st.sampled_from(["", "#!/bin/sh\n", "00100 ", "--- table(a), set(0) ---\n", "add 100 "])


def understood(text: str) -> bool:
    """Whether it is read, and can be asked about."""
    try:
        ruleset = read(text)
    except PortgateError as error:
        assert error.diagnostics and all(one.code in ("PG480", "PG481", "PG483") for one in error.diagnostics)
        return False
    analysis = Analysis(Family.IPV4)
    analysis.settle(analysis.inbound(ruleset))
    return True


@settings(max_examples=300)
@given(start=starts, text=soup)
def test_any_words_are_read_or_refused(start: str, text: str) -> None:
    understood(start + text)


@settings(max_examples=150)
@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    understood(text)


@pytest.mark.parametrize("text", [SCRIPT, SHOWN, TABLE + CALLS])
def test_a_text_that_is_cut_off_or_damaged_is_read_or_refused(text: str) -> None:
    rng = Random(1)
    read_ = sum(understood(text[:length]) for length in range(0, len(text), 7))
    for _ in range(60):
        at = rng.randrange(len(text))
        understood(text[:at] + rng.choice("\"'`$(){}\n\\;&|#!,\x00é") + text[at + rng.choice((0, 1)) :])
    assert read_ > 20


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\n" + '"' + "$(a)" * 50_000,
        "#!/bin/sh\n" + "$(" * 50_000,
        "#!/bin/sh\n" + "`" * 50_001,
        "#!/bin/sh\n" + "if a; then " * 20_000,
        "#!/bin/sh\n" + "f() { " * 20_000,
        "#!/bin/sh\nx=a\n" + "x=$x$x\n" * 60 + "ipfw add allow ip from $x to any\n",
        "#!/bin/sh\n" + "".join(f"f{n}() {{ f{n + 1}; f{n + 1}; }}\n" for n in range(40)) + "f0\n",
        "add allow ip from " + "{" * 50_000 + " to any\n",
        "add allow ip from any to any " + "not " * 50_000 + "in\n",
        "add allow tcp from any to any " + "1," * 50_000 + "\n",
        "add count ip from any to any\n" * 20_000,
        "".join(f"add {n} call {n + 1} ip from any to any\n" for n in range(1, 400)),
        "table t add "
        + " ".join(f"10.{n >> 8}.{n & 255}.1 {n}" for n in range(20_000))
        + "\nadd allow ip from table(t,7) to any\n",
        "9" * 50_000 + " allow ip from any to any\n",
        "add " + "9" * 50_000 + " allow ip from any to any\n",
    ],
    ids=range(15),
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    understood(text)
    assert time.process_time() - begun < 10
