"""Whatever the text: rules, or the one error that says that there are none."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.core.diagnostics import PortgateError
from portgate.core.ruleset import Ruleset
from tests.nftables.reading import read
from tests.nftables.test_readback import EVERYTHING

WORDS = sorted({word for word in EVERYTHING.replace("\n", " \n ").split(" ") if word})
SIGNS = [*"{}()[];,:.-=!<>&|^$@#\"'\\\n*/", "jump {", "define a =", "$a", "@s", "include", "\\\n"]
KEYS = [
    "nftables", "table", "chain", "rule", "set", "map", "element", "add", "delete", "insert", "replace", "flush", "family",
    "name", "expr", "elem", "val", "type", "typeof", "flags", "hook", "prio", "policy", "dev", "handle", "index", "match",
    "op", "left", "right", "payload", "protocol", "field", "meta", "ct", "key", "dir", "vmap", "data", "concat", "range",
    "prefix", "addr", "len", "&", "|", "^", "limit", "rate", "per", "burst", "quota", "mangle", "value", "jump", "goto",
    "target", "dnat", "port", "redirect", "snat", "reject", "queue", "log", "counter", "fib", "result", "meter", "stmt", "size",
    "xt", "accept", "drop", "numgen", "mod", "set", "tproxy", "notrack", "flow", "comment", "expires", "timeout", "opaque", "text",
]  # fmt: skip
NAMES = [
    "ip", "ip6", "inet", "netdev", "arp", "t", "c", "s", "@s", "filter", "nat", "input", "prerouting", "ingress", "accept",
    "drop", "tcp", "udp", "th", "icmp", "saddr", "daddr", "sport", "dport", "flags", "type", "state", "status", "mark", "l4proto",
    "nfproto", "iifname", "==", "!=", "in", "!", "<", "10.0.0.0", "::1", "eth*", "*", "new", "syn", "dnat", "local", "dormant",
    "ipv4_addr", "inet_service", "verdict", "add", "update", "second", "original", "jump { drop }",
]  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=25,
)


def outcome(text: str, kind: str) -> Ruleset | str:
    try:
        return read(text, kind)
    except PortgateError as error:
        return error.diagnostics[0].code


def never_fails(text: str, kind: str) -> None:
    found = outcome(text, kind)
    assert isinstance(found, Ruleset) or found in {"PG411", "PG412"}
    assert outcome(text, kind) == found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutations_of_a_listing(data: st.DataObject) -> None:
    text = EVERYTHING
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 40))
        patch = data.draw(st.sampled_from(WORDS) | st.sampled_from(SIGNS) | st.text(max_size=6))
        text = text[:start] + patch + text[start + length :]
    never_fails(text, "nft")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.sampled_from(SIGNS), max_size=40).map(" ".join))
def test_words_of_a_listing_in_any_order(text: str) -> None:
    never_fails(text, "nft")
    never_fails(f"table inet t {{ chain c {{\n{text}\n", "nft")
    never_fails(f"table inet t {{ set s {{\n{text}\n", "nft")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    never_fails(text, "nft")
    never_fails(text, "nft-json")


@settings(max_examples=500, deadline=None)
@given(values)
def test_any_json(value: object) -> None:
    never_fails(json.dumps(value), "nft-json")
    never_fails(json.dumps({"nftables": [value]}), "nft-json")


@settings(max_examples=700, deadline=None)
@given(st.lists(values, max_size=4), st.sampled_from(["ip", "inet", "netdev"]))
def test_any_statements_of_a_rule(statements: list[object], family: str) -> None:
    body = {"family": family, "table": "t", "chain": "c", "expr": statements}
    never_fails(json.dumps({"nftables": [{"rule": body}]}), "nft-json")


MATCHES: list[Callable[[object], object]] = [
    lambda value: {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": value}},
    lambda value: {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": value}},
    lambda value: {"match": {"op": "!=", "left": {"concat": [{"meta": {"key": "mark"}}, value]}, "right": value}},
    lambda value: {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, value]}, "right": value}},
    lambda value: {"vmap": {"key": value, "data": {"set": [[value, {"accept": None}], ["*", value]]}}},
    lambda value: {"vmap": {"key": {"payload": {"protocol": "ip", "field": "saddr"}}, "data": {"set": value}}},
    lambda value: {"mangle": {"key": {"meta": {"key": "mark"}}, "value": value}},
    lambda value: {"dnat": {"addr": value, "port": value}},
    lambda value: {"redirect": {"port": {"map": {"key": value, "data": value}}}},
    lambda value: {"set": {"op": "add", "set": "@s", "elem": value, "stmt": value}},
    lambda value: {"limit": value},
    lambda value: {"jump": {"chain": value}},
]


@settings(max_examples=700, deadline=None)
@given(st.sampled_from(MATCHES), values)
def test_any_values_in_statements(shape: Callable[[object], object], value: object) -> None:
    body = {"family": "inet", "table": "t", "chain": "c", "expr": [shape(value)]}
    declared = {"set": {"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "elem": value}}
    never_fails(json.dumps({"nftables": [declared, {"rule": body}]}), "nft-json")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["table", "chain", "rule", "set", "map", "element"]), values, st.sampled_from(KEYS))
def test_any_objects_under_any_command(kind: str, value: object, key: str) -> None:
    plain = {"family": "ip", "table": "t", "name": "c", "chain": "c", key: value}
    objects: list[object] = [{kind: plain}]
    objects += [{verb: {kind: plain}} for verb in ("add", "insert", "replace", "delete", "flush", "rename")]
    never_fails(json.dumps({"nftables": objects}), "nft-json")


def test_variables_that_grow_without_end_are_not_followed() -> None:
    lines = ["define a0 = { 1, 2 }"]
    lines += [f"define a{i + 1} = {{ $a{i}, $a{i}, $a{i}, $a{i} }}" for i in range(30)]
    never_fails("\n".join([*lines, "table ip t {\nchain c {\ntcp dport $a30 accept\n}\n}"]), "nft")


def test_text_that_is_nested_too_deeply() -> None:
    for opening in ("(", "{", "jump {", "{ {", "tcp dport {"):
        never_fails("table ip t {\nchain c {\ntcp dport " + f"{opening} " * 5000 + "\n}\n}", "nft")
