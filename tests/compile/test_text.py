"""What nft gets to read for a small policy, in full: the one place to see at a glance what portgate writes."""

from __future__ import annotations

from dataclasses import replace

from portgate.backends.nftables import BACKEND
from portgate.backends.nftables.emit import quote
from portgate.core.compile import compile as compile_policy
from portgate.core.net import ICMP, ICMPV6, TCP, AddressSet
from portgate.core.policy import Default, Forward, Grant, Limit, Peer, Policy, Rulebook, Traffic, Unit
from portgate.core.ruleset import Ruleset
from tests.compile.worlds import TODAY

OFFICE = (Peer((), AddressSet.of("198.51.100.0/24", "2001:db8:42::/48"), "office"),)
ALLOW = (
    Grant("https", (Traffic(TCP, 443, 443),)),
    Grant("ssh", (Traffic(TCP, 22, 22),), OFFICE, limit=Limit(10, Unit.MINUTE), log=True),
    Grant("app", (Traffic(TCP, 8000, 8100),), (Peer(("eth1", "wg*")),)),
    Grant("ping", (Traffic(ICMP, 8, 8), Traffic(ICMPV6, 128, 128))),
)
POLICY = Policy(
    "web-server",
    Rulebook(Default.DROP, (Grant("abuser", sources=(Peer((), AddressSet.of("203.0.113.9")),)),), ALLOW),
    Rulebook(Default.ACCEPT),
    forwards=(Forward(Grant("old-port", (Traffic(TCP, 80, 80),)), None, 8080),),
)


def rules(chain: str, policy: Policy = POLICY) -> list[str]:
    """The lines of a chain, without the words that all have."""
    text = BACKEND.emit(compile_policy(policy, TODAY)).text
    if f"\tchain {chain} {{\n" not in text:
        return []
    body = text.split(f"\tchain {chain} {{\n")[1].split("\n\t}")[0]
    return [line.strip().replace("counter ", "") for line in body.splitlines()]


def test_what_arrives_is_judged_in_this_order() -> None:
    assert rules("input") == [
        "type filter hook input priority -5; policy drop;",
        'ct state established,related accept comment "established"',
        'iifname "lo" accept comment "loopback"',
        'icmp type { 3, 11-12 } accept comment "essential"',
        'icmpv6 type { 1-4, 130-136, 141-143, 148-149, 151-153 } accept comment "essential"',
        'udp sport 67 udp dport 68 accept comment "essential"',
        'ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment "essential"',
        'ct state invalid meta l4proto { 0-135, 137-255 } drop comment "invalid"',
        'ct status dnat tcp dport . ct original proto-dst . meta l4proto @forward_ports accept comment "forward"',
        'ip saddr @block_src4 drop comment "block"',
        'icmp type @allow_icmp accept comment "allow"',
        'icmpv6 type @allow_icmpv6 accept comment "allow"',
        'iifname { "eth1", "wg*" } th dport . meta l4proto @allow_iif_eth1_wg_ae3fcc18_ports accept comment "allow"',
        'th dport . meta l4proto @allow_ports accept comment "allow"',
        'th dport . meta l4proto @opened_ports accept comment "opened"',
        'ip saddr . th dport . meta l4proto @opened_src4_ports accept comment "opened"',
        'ip6 saddr . th dport . meta l4proto @opened_src6_ports accept comment "opened"',
        'th dport . meta l4proto @limited_ports jump limited comment "limited"',
    ]


def test_limited_grants_count_for_each_source() -> None:
    assert rules("limited") == [
        f"ip{six} saddr {source} tcp dport 22 update @limit_ssh_10_minute_5_v{version} "
        f'{{ ip{six} saddr limit rate 10/minute burst 5 packets }} log prefix "portgate ssh " accept comment "ssh"'
        for version, six, source in ((4, "", "198.51.100.0/24"), (6, "6", "2001:db8:42::/48"))
    ]


def test_blocked_traffic_is_not_translated() -> None:
    assert rules("prerouting") == [
        "type nat hook prerouting priority -105; policy accept;",
        'ip saddr @block_src4 accept comment "block"',
        'fib daddr type local tcp dport 80 redirect to :8080 comment "old-port"',
    ]


def test_nothing_is_said_of_outgoing_traffic_unless_the_policy_does() -> None:
    assert rules("output") == []
    assert rules("output", replace(POLICY, outbound=Rulebook(Default.REJECT, allow=(ALLOW[0],))))[-2:] == [
        'th dport . meta l4proto @out_allow_ports accept comment "allow"',
        'reject comment "default"',
    ]


def test_elements_lead_back_to_their_grants() -> None:
    text = BACKEND.emit(compile_policy(POLICY, TODAY)).text
    assert '443 . tcp comment "https"' in text
    assert '203.0.113.9 comment "abuser"' in text


def test_the_first_load_deletes_nothing() -> None:
    """A transaction that deletes waits for the kernel."""
    first = BACKEND.transaction(Ruleset(), compile_policy(POLICY, TODAY))
    assert first is not None
    assert "delete" not in first.text
    assert "delete table inet portgate" in BACKEND.emit(compile_policy(POLICY, TODAY)).text


def test_strings_keep_inside_their_quotes() -> None:
    assert quote('a"b\\c\nd') == '"a_b_c_d"'
    assert len(quote("ü" * 500).encode()) <= 128
