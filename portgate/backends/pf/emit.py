"""Lines as the text of the anchor `portgate`, in the words of each dialect.

Facts
    OpenBSD translates by filter rules (`rdr-to`), FreeBSD and macOS by `rdr` rules, which stand before all filter rules.
    What a `rdr pass` rule translates is not filtered. A redirect to this host leads to its loopback address; only
    FreeBSD and macOS drop what comes to ::1 from elsewhere (ip6_input.c of FreeBSD 12.1), so there the destination
    stays: `-> ::/0 port N bitmask` takes no bit of it from the new address.
    FreeBSD takes icmp6-type 255 for "any type" (12.1). In a list no comma may stand at the end of a line.
"""

from __future__ import annotations

from collections.abc import Iterator

from portgate.backends.pf import ANCHOR, MARK
from portgate.backends.pf.words import WRITTEN
from portgate.core.bsd import HOME, LOOPBACK
from portgate.core.capture import Artifact
from portgate.core.dataclasses import replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.lowering import LOCAL, Address, Line, Lines, in_place, inline, lines, refuse, united
from portgate.core.net import (
    ICMPV6,
    TCP,
    Family,
    Interval,
    Intervals,
    format_address,
    format_interval,
    interface_interval,
    interface_name,
    prefixes,
)
from portgate.core.ruleset import Accept, Drop, Reject, Ruleset

DIALECTS = ("openbsd", "freebsd", "macos")
INET = {Family.IPV4: "inet", Family.IPV6: "inet6"}
LO = interface_interval("lo")
EVERYWHERE = (0, Family.IPV6.top)
FORWARDED = "portgate-forwarded"  # the tag of what is on its way to another host

_HEADER = f"""{MARK} Edits are overwritten by the next apply.
# This is the anchor `{ANCHOR}` for pf of {{dialect}}. Load it with
#     pfctl -a {ANCHOR} -f FILE
# It holds while /etc/pf.conf has {{where}}:
{{main}}
"""
_MAIN = {
    "openbsd": ("this line", f'#     anchor "{ANCHOR}"'),
    "freebsd": (
        "these lines, the first before all filter rules",
        f'#     rdr-anchor "{ANCHOR}"\n#     anchor "{ANCHOR}"',
    ),
    "macos": (
        "these lines, each next to its like for com.apple",
        f'#     rdr-anchor "{ANCHOR}"\n#     anchor "{ANCHOR}"',
    ),
}


def emit(desired: Ruleset, dialect: str) -> Artifact:
    """The anchor's text. Errors: PG303 for an unknown dialect, PG302 for what pf can't say."""
    if dialect not in DIALECTS:
        remedy = f"the dialects are {', '.join(DIALECTS)}"
        raise PortgateError(Diagnostic("PG303", f"pf has no dialect {dialect!r}", remedy=remedy))
    where, main = _MAIN[dialect]
    header = _HEADER.format(dialect=dialect, where=where, main=main)
    anchor = lines(desired)
    return Artifact("pf", header + ("" if anchor is None else "".join(_text(anchor, dialect))), dialect)


def transaction(observed: Ruleset, desired: Ruleset, dialect: str) -> Artifact | None:
    """The new anchor as a whole, which pf replaces at once; None when what is there means the same."""
    return None if same(_known(observed), lines(desired)) else emit(desired, dialect)


def _known(observed: Ruleset) -> Lines | None:
    """What is there; nothing that portgate would write, when somebody else has put a rule into the anchor."""
    try:
        return lines(observed)
    except PortgateError:
        return Lines()


def same(old: Lines | None, new: Lines | None) -> bool:
    """Whether two anchors mean the same, in either style of translation."""
    if old is None or new is None:
        return old is new
    return _apart(old) == _apart(new) or _unlabelled(inline(old)) == _unlabelled(inline(new))


def _unlabelled(anchor: Lines) -> Lines:
    """`rdr` rules have no labels to compare."""
    return replace(anchor, translation=united(replace(line, label="") for line in anchor.translation))


def _apart(anchor: Lines) -> Lines:
    """As `rdr` rules say it: they can't test ICMP types, and no forward is of ICMP."""
    found = _unlabelled(anchor)
    return replace(found, translation=tuple(one for one in found.translation if not one.icmp_types))


def _text(anchor: Lines, dialect: str) -> Iterator[str]:
    for name, family, values in anchor.tables:
        yield from _table(name, family, values)
    if dialect == "openbsd":
        inbound = in_place(anchor)
    else:
        inbound = anchor.inbound
        yield from (_translation(one, dialect) + "\n" for one in _apart(anchor).translation)
    if any(_leads_away(one) for one in anchor.translation):
        yield f"pass out quick tagged {FORWARDED} keep state\n"
    for direction, found in (("in", inbound), ("out", anchor.outbound)):
        default, rules = found[-1], found[:-1]
        yield _filter(default, direction, dialect, quick=False) + "\n"
        yield from (_filter(one, direction, dialect) + "\n" for one in rules)


def _table(name: str, family: Family, values: Intervals) -> Iterator[str]:
    found = [
        f"{format_address(family, network)}{'' if length == family.bits else f'/{length}'}"
        for interval in values
        for network, length in prefixes(family, interval)
    ]
    yield f"table <{name}> {{\n"
    yield from (f"    {', '.join(some)}\n" for some in _rows(found, 6))
    yield "}\n"


def _rows(found: list[str], size: int) -> Iterator[list[str]]:
    return (found[at : at + size] for at in range(0, len(found), size))


def _filter(line: Line, direction: str, dialect: str, *, quick: bool = True) -> str:
    words = [_action(line), direction, *(["log"] if line.log else []), *(["quick"] if quick else [])]
    words += _packets(line, dialect)
    if isinstance(line.action, tuple):
        words += ["flags S/SA"] if line.protocol == TCP else []
        words += ["keep state", *_tag(line), *_label(line), "rdr-to", *_target(line, dialect)]
    else:
        words += [*_state(line), *_label(line)]
    return " ".join(words)


def _action(line: Line) -> str:
    match line.action:
        case Drop():
            return "block drop"
        case Reject():
            return "block return"
        case _:
            return "pass"


def _state(line: Line) -> Iterator[str]:
    if not isinstance(line.action, Accept):
        return
    if line.interface == LO:
        yield "no state"
        return
    if line.protocol in (TCP, None):
        yield "flags S/SA"
    yield "keep state"
    if line.label == "essential" and line.protocol == ICMPV6:
        yield "allow-opts"  # multicast listeners write a router alert, and pf drops packets with options
    if line.limit is not None:
        yield "(max-src-conn-rate {}/{})".format(*line.limit.window() or refuse("this rate limit", line))


def _label(line: Line) -> list[str]:
    return [f'label "{line.label}"'] if line.label else []


def _tag(line: Line) -> list[str]:
    return [f"tag {FORWARDED}"] if _leads_away(line) else []


def _leads_away(line: Line) -> bool:
    return isinstance(line.action, tuple) and line.action[0] is not None


def _translation(line: Line, dialect: str) -> str:
    if not isinstance(line.action, tuple):
        return " ".join(["no rdr", *_packets(line, dialect)])
    words = ["rdr pass", *(["log"] if line.log else []), *_packets(line, dialect), *_tag(line)]
    return " ".join([*words, "->", *_target(line, dialect)])


def _target(line: Line, dialect: str) -> Iterator[str]:
    if not isinstance(line.action, tuple) or line.family is None:
        raise TypeError("a line that translates names its family")
    address, port = line.action
    stays = address is None and line.family is Family.IPV6 and dialect != "openbsd"
    interval = address or (EVERYWHERE if stays else HOME[line.family])
    if len(list(prefixes(line.family, interval))) != 1:
        refuse("a forward to addresses that are not one prefix", line)
    yield format_interval(line.family, interval)
    if port is not None:
        yield f"port {port}"
    if stays:
        yield "bitmask"


# ------------------------------------------------------------------ what a line matches


def _packets(line: Line, dialect: str) -> Iterator[str]:
    if line.interface is not None:
        yield f"on {_interface(line)}"
    if line.family is not None:
        yield INET[line.family]
    if line.protocol is not None:
        yield f"proto {WRITTEN.get(line.protocol, line.protocol)}"
    ends = (line.src, line.sport, line.dst, line.dports)
    if not any(one not in (None, ()) for one in ends):
        yield "all"
    else:
        yield f"from {_address(line.src, line.family)}" + (f" port {_ports((line.sport,))}" if line.sport else "")
        yield f"to {_address(line.dst, line.family)}" + (f" port {_ports(line.dports)}" if line.dports else "")
    if line.icmp_types:
        yield _icmp_types(line, dialect)


def _interface(line: Line) -> str:
    """A name that pf takes for an interface, not for a group or a word of its own."""
    if line.interface == LO:
        return LOOPBACK
    first, last = line.interface or LO
    name = interface_name(first) + ("*" if first < last else "")
    plain = all(one.isascii() and (one.isalnum() or one in "._-") for one in name)
    if not plain or not name[0].isalpha() or not name[-1].isdigit():
        refuse(f"pf takes {name!r} for a group of interfaces, or can't be told it", line)
    return name


def _address(address: Address | None, family: Family | None) -> str:
    if address is None:
        return "any"
    if isinstance(address, str):
        return "(self)" if address == LOCAL else f"<{address}>"
    if family is None:
        raise TypeError("a line with an address names its family")
    return format_interval(family, address).replace("-", " - ")


def _ports(values: Intervals | tuple[Interval]) -> str:
    texts = [str(first) if first == last else f"{first}:{last}" for first, last in values]
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"


def _icmp_types(line: Line, dialect: str) -> str:
    values = [str(one) for first, last in line.icmp_types for one in range(first, last + 1)]
    if "255" in values and dialect != "openbsd":
        refuse("ICMP type 255, which this pf takes for any type", line)
    word = "icmp-type" if line.family is Family.IPV4 else "icmp6-type"
    return f"{word} {values[0]}" if len(values) == 1 else f"{word} {{ {', '.join(values)} }}"
