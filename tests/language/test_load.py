"""What a policy file becomes: the values, their places, their ids."""

from __future__ import annotations

import gc
import re
from datetime import date
from pathlib import Path

import pytest

from portgate.core.diagnostics import Span
from portgate.core.net import ANY_ADDRESS, AddressSet
from portgate.core.policy import Containers, Default, Limit, Outcome, Peer, Policy, Traffic, Unit
from portgate.language import Loaded, load, parse

TODAY = date(2026, 6, 1)


def loaded(text: str | bytes, **files: str | bytes) -> Loaded:
    everything = {"policy.yaml": text, **files}

    def read(path: str) -> bytes:
        try:
            content = everything[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory") from None
        return content if isinstance(content, bytes) else content.encode()

    return load("policy.yaml", read, TODAY)


def policy(text: str, **files: str) -> Policy:
    found = loaded("portgate: 1\n" + text, **files)
    assert found.policy is not None, found.diagnostics
    return found.policy


def codes(text: str | bytes, **files: str | bytes) -> list[str]:
    return [one.code for one in loaded(text, **files).diagnostics]


def allow(*entries: str, before: str = "") -> Policy:
    return policy(before + "inbound:\n  allow:\n" + "".join(f"    - {entry}\n" for entry in entries))


# ------------------------------------------------------------------ values


def test_a_bare_string_is_a_port() -> None:
    bare, written_out = allow("ssh", "{port: ssh}").inbound.allow

    assert bare.traffic == written_out.traffic == (Traffic(6, 22, 22),)


def test_every_part_of_a_grant_is_read() -> None:
    entry = (
        "{port: [app, 9000-9010/udp], from: [office, 192.0.2.1, 192.0.2.2], to: 10.0.0.5, limit: 3/hour burst 7, "
        "log: true, note: 'a  b', owner: dba, expires: 2027-03-31, id: my.id}"
    )
    zones = "zones: {office: {interfaces: eth1, sources: 198.51.100.0/24}}\nservices: {app: [http, 8443/tcp]}\n"
    (grant,) = allow(entry, before=zones).inbound.allow

    assert grant.id == "my.id"
    assert grant.traffic == (Traffic(6, 80, 80), Traffic(6, 8443, 8443), Traffic(17, 9000, 9010))
    assert grant.sources == (
        Peer(("eth1",), AddressSet.of("198.51.100.0/24"), "office"),
        Peer((), AddressSet.of("192.0.2.1-192.0.2.2")),
    )
    assert grant.destinations == (Peer((), AddressSet.of("10.0.0.5")),)
    assert grant.limit == Limit(3, Unit.HOUR, 7)
    assert (grant.log, grant.note, grant.owner, grant.expires) == (True, "a b", "dba", date(2027, 3, 31))


def test_a_zone_of_every_interface_is_one_of_none_in_particular() -> None:
    found = dict(policy('zones: {a: {interfaces: ["*", eth0]}, b: {interfaces: ["e*"]}}').zones)
    assert found["a"] == Peer(name="a")
    assert found["b"].interfaces == ("e*",)


def test_ping_is_the_echo_request_of_both_families() -> None:
    (grant,) = allow("ping").inbound.allow

    assert grant.traffic == (Traffic(1, 8, 8), Traffic(58, 128, 128))


def test_a_whole_protocol_has_a_name_or_a_number() -> None:
    by_name, by_number, several = allow("{proto: gre}", "{proto: 47}", "{proto: [esp, 51]}").inbound.allow

    assert by_name.traffic == by_number.traffic == (Traffic(47, 0, 0xFFFF),)
    assert several.traffic == (Traffic(50), Traffic(51))


def test_any_is_everybody_alone_and_in_a_list() -> None:
    alone, listed = allow("{from: any}", "{port: ssh, from: [192.0.2.1, any]}").inbound.allow

    assert alone.sources == listed.sources == ()


def test_an_exception_is_taken_from_every_source() -> None:
    zones = "zones: {lan: {interfaces: [eth1]}}\n"
    entry = "{port: ssh, from: {any: [lan, 10.0.0.0/8], except: [10.9.0.0/16, 192.0.2.0/24]}}"
    (grant,) = allow(entry, before=zones).inbound.allow
    excepted = AddressSet.of("10.9.0.0/16", "192.0.2.0/24")

    assert grant.sources == (
        Peer(("eth1",), ANY_ADDRESS - excepted),
        Peer((), AddressSet.of("10.0.0.0/8") - excepted),
    )


def test_an_exception_from_an_empty_set_is_nobody() -> None:
    """Not everybody but the exception, and not everybody."""
    entries = "{port: ssh, from: {any: nobody, except: 10.0.0.1}}", "{port: ssh, from: {any: nobody, except: nobody}}"
    text = "addresses: {nobody: {file: list}}\ninbound: {allow: [" + ", ".join(entries) + "]}"

    assert [grant.sources for grant in policy(text, list="").inbound.allow] == [(Peer((), AddressSet()),)] * 2


def test_a_named_set_is_one_shared_object() -> None:
    found = policy(
        "addresses: {a: {file: list}, same: [a]}\nzones: {z: {sources: a}}\n"
        "inbound: {allow: [{port: ssh, from: a}, {port: http, from: [a, 192.0.2.1]}, {port: smtp, from: z}]}\n"
        "outbound: {block: [{to: same}]}\n",
        list="192.0.2.0/24\n",
    )
    first = found.inbound.allow[0].sources[0]

    assert found.inbound.allow[1].sources[0] is first
    assert found.inbound.allow[2].sources[0].addresses is first.addresses
    assert found.outbound.block[0].destinations[0].addresses is first.addresses


def test_forwards_lead_to_a_port_an_address_or_both() -> None:
    targets = ["8080", '"10.0.0.7:22"', '"[2001:db8::7]:22"', "10.0.0.7"]
    entries = (f"  - {{port: {port}/tcp, to: {to}}}\n" for port, to in enumerate(targets, 80))
    found = policy("forward:\n" + "".join(entries)).forwards

    assert [(one.address, one.port) for one in found] == [
        (None, 8080),
        (AddressSet.of("10.0.0.7"), 22),
        (AddressSet.of("2001:db8::7"), 22),
        (AddressSet.of("10.0.0.7"), None),
    ]


def test_both_forms_of_expectations() -> None:
    both = policy("expect: [{port: ssh, from: 192.0.2.1, is: blocked}, {only: [ssh, http]}]").expectations

    assert both[0].outcome is Outcome.BLOCKED
    assert both[0].sources == (Peer((), AddressSet.of("192.0.2.1")),)
    assert both[1].outcome is None
    assert both[1].traffic == (Traffic(6, 22, 22), Traffic(6, 80, 80))


def test_what_is_absent_has_a_safe_default() -> None:
    found = policy("inbound: {allow: [ssh]}")

    assert found.name == "policy"  # the name of the file
    assert (found.inbound.default, found.outbound.default) == (Default.DROP, Default.ACCEPT)
    assert (found.management, found.containers, found.forwards) == ((), Containers.IGNORE, ())


def test_management_from_anywhere_is_not_management_from_nobody() -> None:
    assert policy("management: {from: any}").management == (Peer(),)


def test_empty_sections_are_empty() -> None:
    found = policy("zones:\naddresses:\nservices:\nforward:\nexpect:\ninbound:\n  block:\n  allow:\n")

    assert found.grants() == ()


def test_the_policys_own_service_wins_over_the_built_in_one() -> None:
    found = loaded("portgate: 1\nservices: {http: 8080/tcp}\ninbound: {allow: [http]}")

    assert found.policy is not None
    assert found.policy.inbound.allow[0].traffic == (Traffic(6, 8080, 8080),)
    assert [one.code for one in found.diagnostics] == ["PG225"]


def test_yaml_does_not_type_values_behind_our_back() -> None:
    """22:22 is 1342 to YAML 1.1, no is False, 0o17 is 15, and 2027-03-31 a date."""
    (grant,) = allow("{port: ssh, note: no, owner: 22:22}").inbound.allow

    assert (grant.note, grant.owner) == ("no", "22:22")


# ------------------------------------------------------------------ places and ids


def test_places_are_exact_in_flow_and_block_style() -> None:
    text = "portgate: 1\ninbound:\n  allow:\n    - ssh\n    - {port: http}   # comment\n    - port: smtp\n      note: x\n\n"
    found = loaded(text).policy
    assert found is not None

    assert [grant.span for grant in found.inbound.allow] == [
        Span("policy.yaml", 4, 7, 4, 10),
        Span("policy.yaml", 5, 7, 5, 19),
        Span("policy.yaml", 6, 7, 7, 14),
    ]


def test_columns_count_characters_not_bytes() -> None:
    found = loaded("portgate: 1\ninbound: {allow: [{note: ÄÖÜ日本, port: 8080}]}")

    assert found.diagnostics[0].span == Span("policy.yaml", 2, 39, 2, 43)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    found = loaded(b"\xef\xbb\xbfportgate: 1\r\ninbound: {allow: [8080]}\r\n")

    assert [(one.code, one.span) for one in found.diagnostics] == [("PG202", Span("policy.yaml", 2, 19, 2, 23))]


def test_an_id_does_not_depend_on_other_lines_or_the_order_of_lists() -> None:
    zone = "zones: {office: {sources: 192.0.2.0/24}}\n"
    (alone,) = allow("{port: [ssh, http], from: office}", before=zone).inbound.allow
    *_, among_others = allow(
        "https", "{proto: gre}", "{from: office, port: [http, ssh], note: changed, owner: me}", before=zone
    ).inbound.allow

    assert alone.id == among_others.id


def test_an_id_is_readable() -> None:
    (grant,) = allow("{port: ssh, from: 192.0.2.0/24}").inbound.allow

    assert re.fullmatch(r"ssh-from-192\.0\.2\.0-24-[0-9a-f]{6}", grant.id)


def test_ids_differ_by_list_and_by_meaning() -> None:
    both = "inbound: {block: [ssh], allow: [ssh, {port: ssh, limit: 3/minute}, {proto: tcp}, {port: ssh, to: 192.0.2.1}]}\n"
    found = policy(both + "outbound: {block: [ssh], allow: [ssh]}\nforward: [{port: 22/tcp, to: 23}]\n")
    ids = [grant.id for grant in found.grants()]

    assert len(set(ids)) == len(ids) == 8


def test_every_id_is_fit_for_the_hosts_rules() -> None:
    odd = "{port: [ssh, http, https, smtp, imaps, domain, submission], from: ['2001:db8::/32', 192.0.2.0/24], to: 10.0.0.1}"
    for grant in allow(*["ssh"] * 120, odd, odd, "{from: '::'}").grants():
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,48}", grant.id)


def test_entries_that_say_the_same_have_ids_of_their_own() -> None:
    ids = [grant.id for grant in allow("ssh", "{port: ssh}", "ssh", "{port: http, id: x}").inbound.allow]

    assert ids[1:3] == [f"{ids[0]}-2", f"{ids[0]}-3"]


def test_a_given_id_is_never_given_to_another_grant() -> None:
    first = allow("ssh").inbound.allow[0].id
    ids = [grant.id for grant in allow(f"{{port: http, id: {first}-2}}", "ssh", "ssh").inbound.allow]

    assert len(set(ids)) == 3


# ------------------------------------------------------------------ files and limits


def test_a_file_that_two_others_include_is_read_once() -> None:
    found = policy(
        "include: [a.yaml, b.yaml]",
        **{"a.yaml": "include: [c.yaml]", "b.yaml": "include: [./c.yaml]", "c.yaml": "inbound: {allow: [ssh]}"},
    )

    assert found.files == ("policy.yaml", "a.yaml", "c.yaml", "b.yaml")
    assert len(found.inbound.allow) == 1


def test_zones_and_services_of_two_files_are_united() -> None:
    found = policy(
        "include: [a.yaml]\nzones: {lan: {interfaces: [eth1]}}\nservices: {app: [80/tcp]}\ninbound: {allow: [{port: app, from: lan}]}",
        **{"a.yaml": "zones: {lan: {interfaces: [eth2], sources: [10.0.0.0/8]}}\nservices: {app: [81/tcp]}"},
    )
    (grant,) = found.inbound.allow

    assert grant.sources == (Peer(("eth1", "eth2"), AddressSet.of("10.0.0.0/8"), "lan"),)
    assert grant.traffic == (Traffic(6, 80, 80), Traffic(6, 81, 81))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf16_is_one_mistake(encoding: str) -> None:
    assert codes("portgate: 1\ninbound: {allow: [ssh]}\n".encode(encoding)) == ["PG103"]
    assert codes("portgate: 1\naddresses: {a: {file: list}}", list="192.0.2.1\n".encode(encoding)) == ["PG103"]


def test_an_include_with_nothing_behind_it_includes_nothing() -> None:
    assert policy("include:\ninbound: {allow: [ssh]}").files == ("policy.yaml",)


@pytest.mark.parametrize("content", [b"\xff\xfep\x00o\x00", b"portgate: 1\nname: \xe9t\xe9\n", b"\x80"])
def test_what_is_not_utf8_is_said_once(content: bytes) -> None:
    assert codes(content)[0] == "PG103"
    assert codes(content).count("PG103") == 1


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_byte_that_is_not_utf8_is_told_also_behind_a_byte_order_mark(mark: bytes) -> None:
    found = load("policy.yaml", lambda _: mark + b"portgate: 1\nname: a\xff\n", TODAY).diagnostics[0]
    assert found.span is not None
    assert (found.detail, found.span.line, found.span.column) == ("the byte 0xff is not UTF-8", 2, 8)


def test_a_file_over_the_limit_is_not_read() -> None:
    assert codes(b"#" * ((16 << 20) + 1)) == ["PG102"]


def test_a_chain_of_too_many_files_ends() -> None:
    chain = {f"{number}.yaml": f"include: [{number + 1}.yaml]" for number in range(300)}

    assert codes("portgate: 1\ninclude: [0.yaml]", **chain) == ["PG102"]


def test_a_chain_of_too_many_names_ends() -> None:
    sets = "".join(f"  a{number}: [a{number + 1}]\n" for number in range(3000))

    assert set(codes(f"portgate: 1\naddresses:\n{sets}  a3000: 192.0.2.1\n")) == {"PG211"}


def test_ten_thousand_mistakes_are_cut_short() -> None:
    found = codes("portgate: 1\ninbound: {allow: [" + "8080, " * 10_000 + "]}")

    assert (len(found), found.count("PG116")) == (1_001, 1)


def test_a_million_brackets_are_refused_at_once() -> None:
    assert codes("portgate: 1\nname: " + "[" * 1_000_000) == ["PG111"]


@pytest.mark.parametrize("around", ["2001:db8::1\n", "# a comment\n", ""])
@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.1-::ffff:192.0.2.3", "192.0.2.1-192.0.2.3"),
    ],
)
def test_addresses_of_ipv4_in_the_form_of_ipv6_are_no_packets_in_a_file_either(
    around: str, line: str, instead: str
) -> None:
    (found,) = loaded("portgate: 1\naddresses: {a: {file: list}}", list=f"{around}{line}\n{around}").diagnostics
    assert (found.code, found.remedy) == ("PG217", f"write `{instead}`")
    assert found.span is not None and found.span.line == 1 + around.count("\n")
    (inline,) = loaded(f"portgate: 1\naddresses: {{a: '{line}'}}").diagnostics
    assert (inline.code, inline.remedy) == ("PG217", f"write `{instead}`")


def test_mistakes_of_an_address_file_are_counted_not_listed() -> None:
    found = loaded("portgate: 1\naddresses: {a: {file: list}}", list="nonsense\n" * 5_000)

    assert len(found.diagnostics) == 21
    assert found.diagnostics[-1].detail == "4,980 more lines of this file are not addresses"
    assert "list" in found.sources


def test_an_address_file_of_every_form_is_read() -> None:
    lines = "# head\r\n192.0.2.0/24\n192.0.2.255 ; tail\n\n10.0.0.1-10.0.0.9\n2001:db8::/32\n" + "203.0.113.7\n" * 3_000
    found = policy("addresses: {a: {file: list}}\ninbound: {block: [{from: a}]}", list=lines)

    assert found.inbound.block[0].sources[0].addresses == AddressSet.of(
        "192.0.2.0/24", "10.0.0.1-10.0.0.9", "203.0.113.7", "2001:db8::/32"
    )


def test_the_collector_is_left_as_it_was() -> None:
    assert gc.isenabled()
    loaded("portgate: 1")
    assert gc.isenabled()
    gc.disable()
    try:
        loaded("portgate: 1")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_parser_written_in_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).parents[2] / "policies" / "wireguard-gateway.yaml"
    text = example.read_text() + "  - {only: [ssh]\n  - 'x\n"
    with_c = loaded(text)
    monkeypatch.setattr(parse, "Parser", parse.PythonParser)
    in_python = loaded(text)

    assert [one.span for one in in_python.diagnostics] == [one.span for one in with_c.diagnostics]
    assert loaded(example.read_text()) == load("policy.yaml", lambda _: example.read_bytes(), TODAY)
