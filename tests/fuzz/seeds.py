"""What the fuzzer begins with: small texts of every kind that portgate reads, and the corpus where it is to be had."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from random import Random

from portgate.backends import get
from portgate.core import compile as compiler
from portgate.core.capture import Capture, Reading, to_json
from portgate.core.net import Family
from portgate.sockets.linux import SCHEMA
from tests.generate import iptables, nft, policies
from tests.ipfw import test_parse as of_ipfw
from tests.nftables import corpus
from tests.nftables.test_readback import EVERYTHING
from tests.sockets import test_fstat, test_lsof, test_netstat, test_pfiles, test_sockstat
from tests.sockets.test_saved import kind_of
from tests.written import TODAY, loaded

FEW = 12
LARGEST = 3000
"""Bytes of a file of the corpus; small seeds are tried more often in the same time."""

PF = """\
ext_if = "em0"
table <bad> persist { 203.0.113.0/24, !203.0.113.7, 2001:db8::/32 }
set skip on lo
set block-policy return
match in all scrub (no-df max-mss 1440)
rdr-anchor "relayd/*"
rdr pass on $ext_if inet proto tcp from any to any port { 80 443 } -> 192.0.2.8 port 8080
nat on em0 inet from 10.0.0.0/8 to any -> (em0)
block drop in log quick on ! em0 inet from 192.0.2.0/24 to any label "spoof"
antispoof quick for { lo0 em0 }
pass in quick on em0 proto { tcp udp } from <bad> to (em0) port 1000:2000 flags S/SA keep state (max 10, source-track rule)
pass in inet6 proto icmp6 all icmp6-type echoreq code 0 no state
pass out on egress route-to (em1 10.0.0.1) from any to ! <bad> user root rtable 1 tag OUT
anchor "blacklist" quick on em0 proto tcp {
    block return in from any to port != 22
    pass in to port > 1023
}
@12 pass in inet proto tcp from any to 192.0.2.1 port = ssh flags S/SA
  [ Evaluations: 4  Packets: 2  Bytes: 120  States: 1 ]
"""
SS = """\
Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process
tcp   LISTEN 0      128          0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=812,fd=3)) ino:7 sk:1 cgroup:/system.slice/ssh.service v6only:0 <->
tcp   LISTEN 0      511             [::]:80            [::]:*    users:(("nginx",pid=20,fd=6),("nginx: w \\"x\\"",pid=10,fd=6))
udp   UNCONN 0      0      127.0.0.53%lo:53         0.0.0.0:*
tcp   ESTAB  0      0          192.0.2.1:22    198.51.100.7:5000
p_raw UNCONN 0      0                  *:eth0             *
u_str LISTEN 0      4096   /run/x 1001                     * 0
"""
PROC_NET = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0000000000000000 100 0 0 10 0
   1: 0100007F:0035 0200007F:9C40 01 00000000:00000000 00:00000000 00000000   100        0 13 1 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 7 0 14 2
"""
STATUS = "Name:\tsshd\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t812\nPid:\t812\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
CGROUP = (
    "12:pids:/docker/" + "0123456789abcdef" * 4 + "\n1:name=systemd:/system.slice/ssh.service\n"
    "0::/kubepods.slice/kubepods-pod7a1b2c3d_4e5f.slice/cri-containerd-" + "a" * 64 + ".scope\n"
)
SYSCTL = """\
net.ipv4.ip_local_port_range = 32768\t60999
net.ipv4.ip_local_reserved_ports = 8080,9000-9100
net.ipv4.ip_forward = 1
net.ipv6.conf.all.disable_ipv6 = 0
net.netfilter.nf_conntrack_max = 65536
net.ipv4.conf.all.rp_filter = 1
net.ipv4.conf.eth0/7.rp_filter = 2
"""
INTERFACES = "lo:127.0.0.1/8,lo:::1/128\neth0:192.0.2.1/24\neth0:2001:db8::1/64\neth1:down\nwg0:\n"
SESSIONS = "198.51.100.7 40000 192.0.2.1 22\nfe80::1%eth0 5000 fe80::2 22\n::ffff:198.51.100.9 1 192.0.2.1 22\n"
ROUTES4 = """\
[{"priority":0,"src":"all","table":"local"},{"priority":32766,"src":"all","table":"main"},{"priority":32767,"src":"all","table":"default"}]
[{"dst":"default","gateway":"192.0.2.9","dev":"eth0","protocol":"dhcp","metric":100,"flags":[]},{"dst":"192.0.2.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"192.0.2.1","flags":[]},
{"dst":"10.0.0.0/8","metric":5,"flags":[],"nexthops":[{"gateway":"192.0.2.3","dev":"eth0","weight":1,"flags":[]},{"dev":"eth1","weight":1,"flags":["linkdown"]}]},
{"type":"unreachable","dst":"10.9.0.0/16","flags":[]},{"type":"local","dst":"192.0.2.1","dev":"eth0","table":"local","protocol":"kernel","scope":"host","prefsrc":"192.0.2.1","flags":[]}]
"""
ROUTES6 = """\
[{"priority":0,"src":"all","table":"local"},{"priority":32766,"src":"all","table":"main"}]
[{"dst":"fe80::/64","dev":"eth0","protocol":"kernel","metric":256,"flags":[],"pref":"medium"},{"dst":"default","gateway":"fe80::1","dev":"eth0","protocol":"ra","metric":1024,"flags":[],"pref":"medium"},
{"type":"local","dst":"2001:db8::1","dev":"eth0","table":"local","protocol":"kernel","metric":0,"flags":[],"pref":"medium"},{"type":"multicast","dst":"ff00::/8","dev":"eth0","table":"local","metric":256,"flags":[]}]
"""
PACKET = json.dumps(
    {
        "family": 4, "proto": "tcp", "iif": "eth0", "src": "198.51.100.7", "dst": "192.0.2.1", "sport": 40000, "dport": 443,
        "icmp_type": "echo-request", "icmp_code": 0, "tcp_flags": 2, "state": "new", "oif": "eth1",
    }
)  # fmt: skip
LIST = "# a list\n203.0.113.66\n203.0.113.0/25 ; of somebody\n2001:db8::/32\n\n198.51.100.1-198.51.100.9\n"
OF_EVERYBODY = (
    "portgate: 1\nname: a\ninbound:\n  default: reject\n  allow: [https, {port: ssh, from: 198.51.100.0/24}, ping]\n"
)


@cache
def seeds(kind: str) -> tuple[str, ...]:
    """Of a kind of reading, or of one of the others that are named in `KINDS`; the same in every run."""
    found = tuple(_OWN[kind]())
    return (*found, *_of_corpus(kind)) if corpus.ROOT.is_dir() else found


def _of_corpus(kind: str) -> Iterator[str]:
    place = "iptables-save" if kind.endswith("-save") else kind
    if place in ("iptables-save", "nft", "nft-json", "pf", "ipfw"):
        small = (text for text in map(corpus.text, corpus.files(place)) if len(text) <= LARGEST)
        yield from (text for text in small if place != "nft-json" or _is_object(text))
    for path in corpus.files("sockets"):
        name = Path(path).name
        if not path.endswith(".json") and "proc_net" not in path and kind_of(name) == kind:
            yield corpus.text(path)[:LARGEST]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _random(make: Callable[[Random], str]) -> Iterator[str]:
    return (make(Random(number)) for number in range(FEW))


def _saved(family: Family) -> Iterator[str]:
    return _random(lambda rng: iptables.listing(rng, family))


def _emitted(backend: str, *dialects: str | None) -> Iterator[str]:
    """What portgate itself writes."""
    found = get(backend)
    rules = found.lower(compiler.compile(loaded(OF_EVERYBODY), TODAY))
    return (found.emit(rules, one).text for one in dialects)


def _nft_json() -> Iterator[str]:
    """What nft 1.0.6 lists for `EVERYTHING`, a few rules at a time."""
    objects = json.loads(Path(__file__).with_name("everything.json").read_text(encoding="utf-8"))["nftables"]
    rules = [one for one in objects if "rule" in one]
    others = [one for one in objects if "rule" not in one]
    yield from (json.dumps({"nftables": others + rules[start : start + 4]}) for start in range(0, len(rules), 4))


def _linux_sockets() -> Iterator[str]:
    rows = [["0.0.0.0", 22, None, False, 12, 0, 1], ["::", 80, "eth0", None, 13, 33, 2]]
    yield json.dumps(
        {
            "schema": SCHEMA,
            "sockets": {"tcp": rows, "raw": [["192.0.2.1", 47, None, False, 14, 0, 0]], "packet": [[None, 0x88CC, "eth0", False, 7, 0, 0]]},
            "established": {"tcp": [["192.0.2.1", 22, None, 3]]},
            "fallbacks": {"raw": "No such file"}, "unseen": {"sctp": "No such file"}, "hidden": True,
            "owners": {"12": [812]}, "processes": {"812": ["sshd", 0, "/system.slice/ssh.service", None]},
            "users": {"0": "root"}, "cgroups": {"1": "/x"},
        }
    )  # fmt: skip


def _captures() -> Iterator[str]:
    """One host for each kind of rules, with everything else beside."""
    for seed in range(FEW):
        for kind in ("nft-json", "nft", "iptables-save", "ip6tables-legacy-save", "pf", "ipfw"):
            rng = Random(seed)
            others = ("ipset", "ss", "linux-sockets", "sysctl", "ssh-connections", "interfaces", "routes4", "routes6")
            readings = (Reading(one, rng.choice(seeds(one)), f"some {one}") for one in (kind, *others))
            yield to_json(Capture(tuple(readings)))


_OWN: dict[str, Callable[[], Iterator[str]]] = {
    "nft": lambda: iter((EVERYTHING, *_random(nft.ruleset))),
    "nft-json": _nft_json,
    "iptables-save": partial(_saved, Family.IPV4),
    "ip6tables-save": partial(_saved, Family.IPV6),
    "iptables-legacy-save": partial(_saved, Family.IPV4),
    "ip6tables-legacy-save": partial(_saved, Family.IPV6),
    "iptables": partial(_emitted, "iptables", None),
    "ipset": partial(_random, iptables.sets),
    "pf": lambda: iter((PF, *_emitted("pf", "openbsd", "freebsd", "macos"))),
    "ipfw": lambda: iter((of_ipfw.SHOWN, of_ipfw.SCRIPT, of_ipfw.TABLE + of_ipfw.CALLS, *_emitted("ipfw", None))),
    "ss": lambda: iter((SS,)),
    "netstat-linux": lambda: iter((test_netstat.LINUX,)),
    "netstat-bsd": lambda: iter((test_netstat.BSD,)),
    "netstat-macos": lambda: iter((test_netstat.BSD,)),
    "sockstat": lambda: iter((test_sockstat.TEXT,)),
    "fstat": lambda: iter((test_fstat.TEXT,)),
    "lsof": lambda: iter((test_lsof.TEXT,)),
    "pfiles": lambda: iter((test_pfiles.TEXT,)),
    "linux-sockets": _linux_sockets,
    "interfaces": lambda: iter((INTERFACES,)),
    "sysctl": lambda: iter((SYSCTL,)),
    "routes4": lambda: iter((ROUTES4,)),
    "routes6": lambda: iter((ROUTES6,)),
    "ssh-connections": lambda: iter((SESSIONS,)),
    "capture": _captures,
    "packet": lambda: iter((PACKET,)),
    "policy": partial(_random, policies.policy),
    "list": lambda: iter((LIST,)),
    "proc-net": lambda: iter((PROC_NET,)),
    "proc-status": lambda: iter((STATUS,)),
    "proc-cgroup": lambda: iter((CGROUP,)),
}
KINDS = tuple(_OWN)
