"""Scalars of the policy: text to values. Every function raises MistakeError, and knows nothing of places."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from functools import lru_cache, partial

from portgate.core.dataclasses import many
from portgate.core.net import (
    ANY_ADDRESS,
    PORT_MAX,
    PROTOCOLS,
    AddressSet,
    Family,
    Interval,
    format_interval,
    interface_interval,
    ipv4_prefix,
    ipv6_prefix,
    parse_address,
    parse_prefix,
    plain_intervals,
)
from portgate.core.policy import Limit, Traffic, Unit
from portgate.language import grammar
from portgate.language.mistakes import MistakeError

_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/([A-Za-z]+)")
# Compiled when they are first used: most policies need a few of them.
_BARE_PORT = r"([0-9]+)(?:-([0-9]+))?(/[a-z]+)?"
_TARGET = r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[^:\[\]]*)):(?P<port>[0-9]+)"
_FOREIGN_PORT = r"((?P<before>tcp|udp|sctp|dccp|udplite)[ /:]+)?(?P<first>[0-9]{1,5})( ?[:-] ?(?P<last>[0-9]{1,5}))?( ?/ ?(?P<behind>tcp|udp|sctp|dccp|udplite))?"
_NETMASK = r"([0-9.]+)/([0-9]+\.[0-9.]+)"

_PORTS = rf"(?m:^(([0-9]{{1,5}})(?:-([0-9]{{1,5}}))?/({'|'.join(grammar.PORT_PROTOCOL_NAMES)}))$)"
_PORT_NUMBERS = {name: PROTOCOLS[name] for name in grammar.PORT_PROTOCOL_NAMES}
MAPPED = 0xFFFF
"""What stands before the last 32 bits of an IPv4-mapped IPv6 address."""
RESERVED = frozenset({"any"})
_ALL = frozenset({"any", "all", "*"})


def shown(text: str) -> str:
    """A user's text in a message, shortened."""
    return f"`{text}`" if len(text) <= 64 else f"`{text[:61]}...`"


# ------------------------------------------------------------------ ports


def port(text: str) -> Traffic | None:
    """`443/tcp` or `8000-8100/udp`; None when it has another form, such as that of a service name."""
    match = _PORT.fullmatch(text)
    if match is None:
        return None
    first, last, protocol = match.groups()
    number = _PORT_NUMBERS.get(protocol)
    if number is None:
        raise _unknown_port_protocol(text, protocol)
    low = int(first)
    high = low if last is None else int(last)
    if not 1 <= low <= high <= PORT_MAX:
        raise _wrong_range(first, last or first, f"/{protocol}")
    return Traffic(number, low, high)


def ports(words: Iterable[str]) -> dict[str, tuple[Traffic]]:
    """Those of many words that are right ports."""
    made = partial(tuple.__new__, Traffic)
    return {
        text: (made((_PORT_NUMBERS[name], low, high)),)
        for text, first, last, name in re.findall(_PORTS, "\n".join(words))
        if 1 <= (low := int(first)) <= (high := int(last or first)) <= PORT_MAX
    }


def means_no_service(text: str) -> bool:
    """Not even a misspelt one."""
    return text in _ALL or text in PROTOCOLS


def no_port(text: str) -> MistakeError:
    """Why a text that is neither a port nor a known service is no port."""
    match = re.fullmatch(_BARE_PORT, text)
    if match is None:
        return MistakeError("PG201", f"{shown(text)} is neither a port nor a service", _port_remedy(text))
    first, last = match[1], match[2] or match[1]
    if _is_port(first) and _is_port(last) and int(first) <= int(last):
        ports = _range(first, last)
        return MistakeError(
            "PG202", f"{shown(text)} does not say which protocol", f"write `{ports}/tcp` or `{ports}/udp`"
        )
    return _wrong_range(first, last, match[3] or "/tcp")


def _port_remedy(text: str) -> str:
    if text in _ALL:
        return "leave `port` out to mean all traffic, or write `proto: tcp` for all of TCP"
    if text in PROTOCOLS:
        return f"write `proto: {text}` for all of this protocol"
    key, colon, value = text.partition(":")
    if colon and key in grammar.GRANT.names:
        return f"write `{key}: {value.strip()}`, with a space behind the colon"
    parts = [re.fullmatch(_FOREIGN_PORT, part.strip()) for part in text.lower().split(",")]
    written = [_as_port(part, parts[-1]) for part in parts if part and parts[-1]]
    if len(written) < len(parts):
        return "write `80/tcp`, `8000-8100/udp`, a service name, or a list of these"
    return f"write `{written[0]}`" if len(written) == 1 else f"write a list: `[{', '.join(written)}]`"


def _as_port(match: re.Match[str], last: re.Match[str]) -> str:
    """As it is written here, what other tools write `tcp/80`, `8000:8100` or, with the protocol behind the last, `80,443/tcp`."""
    protocol = match["before"] or match["behind"] or last["before"] or last["behind"] or "tcp"
    return f"{_range(match['first'], match['last'] or match['first'])}/{protocol}"


def _range(first: str, last: str) -> str:
    return str(int(first)) if first == last else f"{int(first)}-{int(last)}"


def _wrong_range(first: str, last: str, suffix: str) -> MistakeError:
    for digits in (first, last):
        if not _is_port(digits):
            return MistakeError("PG203", f"{shown(digits)} is not a port", f"ports are 1 to {PORT_MAX}")
    return MistakeError("PG204", f"{first} is higher than {last}", f"write `{last}-{first}{suffix}`")


def _is_port(digits: str) -> bool:
    return len(digits) <= 5 and 1 <= int(digits) <= PORT_MAX


def _port_number(digits: str) -> int:
    if not _is_port(digits):
        raise _wrong_range(digits, digits, "")
    return int(digits)


def _unknown_port_protocol(text: str, protocol: str) -> MistakeError:
    from difflib import get_close_matches

    near = get_close_matches(protocol.lower(), _PORT_NUMBERS, n=1)
    remedy = f"did you mean `{text.partition('/')[0]}/{near[0]}`?" if near else None
    if protocol.lower() in PROTOCOLS and not near:
        remedy = f"{protocol.lower()} has no ports: write `proto: {protocol.lower()}`"
    names = ", ".join(_PORT_NUMBERS)
    return MistakeError(
        "PG201", f"{shown(protocol)} is not a protocol with ports", remedy or f"the protocols are {names}"
    )


def protocol(text: str) -> Traffic:
    """All of an IP protocol, by name or number."""
    if text in PROTOCOLS:
        return Traffic(PROTOCOLS[text])
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255:
        return Traffic(int(text))
    from difflib import get_close_matches

    near = get_close_matches(text.lower()[:64], PROTOCOLS, n=1, cutoff=0.7)
    remedy = f"did you mean `{near[0]}`?" if near else "give its number, 0 to 255"
    if text == "ping":
        remedy = "write `port: ping`"
    if text in _ALL:
        remedy = "leave `proto` out to mean all traffic"
    raise MistakeError("PG212", f"{shown(text)} is not a protocol", remedy)


# ------------------------------------------------------------------ addresses and interfaces


def addresses(text: str) -> AddressSet:
    """An address, prefix or range."""
    try:
        if ":" not in text:
            return AddressSet((ipv4_prefix(text),))
        interval = ipv6_prefix(text)
    except (OSError, ValueError, KeyError):
        return _address_or_range(text)
    if is_mapped(interval):
        raise _mapped(text, interval)
    return AddressSet((), (interval,))


def ipv4_prefixes(words: Iterable[str]) -> dict[str, AddressSet]:
    """Those of many words that are addresses or prefixes of IPv4; none of them where a word only looks like one."""
    likely = [text for text in words if text[:1].isdigit() and ":" not in text and "-" not in text]
    try:
        found = plain_intervals(Family.IPV4, likely)
    except (OSError, ValueError, KeyError):
        return {}
    return dict(zip(likely, many(AddressSet(), len(found), v4=[(one,) for one in found]), strict=True))


def is_mapped(interval: Interval) -> bool:
    """Whether addresses of IPv6 are only another way to write some of IPv4."""
    return interval[0] >> 32 == MAPPED


def _mapped(text: str, interval: Interval) -> MistakeError:
    first, last = (end & Family.IPV4.top for end in interval)
    detail = f"{shown(text)} is how programs write an IPv4 address; no packet has it"
    return MistakeError("PG217", detail, f"write `{format_interval(Family.IPV4, (first, last))}`")


def _address_or_range(text: str) -> AddressSet:
    try:
        family, interval = parse_prefix(text)
    except ValueError:
        raise no_address(text) from None
    if family is Family.IPV6 and is_mapped(interval):
        raise _mapped(text, interval)
    return AddressSet((interval,)) if family is Family.IPV4 else AddressSet((), (interval,))


def _mapped_text(text: str) -> MistakeError | None:
    try:
        family, interval = parse_prefix(text)
    except ValueError:
        return None
    return _mapped(text, interval) if family is Family.IPV6 and is_mapped(interval) else None


def no_address(text: str) -> MistakeError:
    """Why a text is no address, prefix or range."""
    return (
        _mapped_text(text)
        or _host_bits(text)
        or _inverted(text)
        or MistakeError("PG206", f"{shown(text)} is not an address", _address_remedy(text))
    )


def _host_bits(text: str) -> MistakeError | None:
    address, _, length = text.partition("/")
    try:
        family, value = parse_address(address)
        host = (1 << family.bits - int(length)) - 1 if len(length) <= 3 and length.isdigit() else -1
    except ValueError:
        return None
    if host < 0 or not value & host:
        return None
    network = format_interval(family, (value & ~host, value | host))
    detail = f"{shown(text)} is an address inside of {network}"
    return MistakeError("PG207", detail, f"write `{network}` for the network, or `{address}` for the one address")


def _inverted(text: str) -> MistakeError | None:
    first, _, last = text.partition("-")
    try:
        family, other = parse_address(first.strip())[0], parse_address(last.strip())[0]
    except ValueError:
        return None
    if family is not other:
        return MistakeError("PG206", f"the ends of {shown(text)} are of different families", "write two ranges")
    return MistakeError(
        "PG204", f"{first.strip()} is higher than {last.strip()}", f"write `{last.strip()}-{first.strip()}`"
    )


def _address_remedy(text: str) -> str:
    netmask = re.fullmatch(_NETMASK, text)
    if netmask and (length := _netmask_length(netmask[2])) is not None:
        return f"write `{netmask[1]}/{length}`"
    if re.fullmatch(r"\[[0-9A-Fa-f:.]+\]", text):
        return f"write `{text[1:-1]}`, without brackets"
    if "," in text:
        return "write several as a list, in brackets"
    if ":" in text and "%" in text:
        return f"write `{text.partition('%')[0]}`, and say which interface with a zone"
    if "/" in text:
        return "a prefix is written `192.0.2.0/24` or `2001:db8::/32`"
    return "write an address such as `192.0.2.1` or `2001:db8::1`"


def _netmask_length(mask: str) -> int | None:
    try:
        _, value = parse_address(mask)
    except ValueError:
        return None
    hosts = value ^ Family.IPV4.top
    return 32 - hosts.bit_length() if hosts & (hosts + 1) == 0 else None


def interface(text: str) -> str:
    real, colon, _ = text.partition(":")
    if colon:
        raise MistakeError(
            "PG216", f"{shown(text)} labels an address, packets arrive at {shown(real)}", f"write {shown(real)}"
        )
    try:
        interface_interval(text)
    except ValueError as error:
        raise MistakeError(
            "PG216", str(error), "write a name such as `eth0`, or `wg*` for all that begin with wg"
        ) from None
    return _visible(text)


def everything(found: AddressSet) -> bool:
    """It holds all addresses of at least one family."""
    return found.v4 == ANY_ADDRESS.v4 or found.v6 == ANY_ADDRESS.v6


def target(text: str) -> tuple[AddressSet | None, int | None]:
    """Where a forward leads: (address, port), None for this host or for the port that arrives."""
    if text.isascii() and text.isdigit():
        return None, _port_number(text)
    match = re.fullmatch(_TARGET, text)
    try:
        family, value = parse_address((match["v6"] or match["v4"] or "") if match else text)
    except ValueError:
        raise _no_target(text) from None
    if match and (family is Family.IPV6) != (match["v6"] is not None):
        raise _no_target(text)
    if not _can_be_reached(family, value):
        raise _no_target(text)
    one = ((value, value),)
    found = AddressSet(one, ()) if family is Family.IPV4 else AddressSet((), one)
    return found, _port_number(match["port"]) if match else None


def _can_be_reached(family: Family, value: int) -> bool:
    """Not for the unspecified address, loopback, multicast and broadcast, where no forwarded packet can go."""
    first = value >> family.bits - 8
    if family is Family.IPV6:
        return value > 1 and first != 0xFF
    return first not in (0, 127) and first < 224


def _no_target(text: str) -> MistakeError:
    host, _, digits = text.rpartition(":")
    remedy = "write `8080`, `10.0.0.7:22`, `[2001:db8::7]:22` or the address of another host"
    if text.count("/") == 1 and _PORT.fullmatch(text):
        remedy = f"the protocol is that of `port`: write `{text.partition('/')[0]}`"
    elif host.count(":") > 1 and digits.isdigit():
        remedy = f"write `[{host}]:{digits}`"
    return MistakeError("PG223", f"{shown(text)} is not a place to forward to", remedy)


# ------------------------------------------------------------------ the rest


def name(text: str) -> str:
    """A name that the policy gives to something."""
    if text in RESERVED:
        raise MistakeError("PG209", f"{shown(text)} is reserved: it stands for every address", "choose another name")
    if re.fullmatch(grammar.NAME_PATTERN, text) is None:
        raise MistakeError(
            "PG209", f"{shown(text)} is not a name", "begin with a letter; letters, digits, `_`, `-`, `.`; at most 48"
        )
    return text


def looks_like_name(text: str) -> bool:
    return re.fullmatch(grammar.NAME_PATTERN, text) is not None


def identifier(text: str) -> str:
    if re.fullmatch(grammar.ID_PATTERN, text) is None:
        raise MistakeError("PG220", f"{shown(text)} is not an id", "use 1 to 48 letters, digits, `.`, `_` and `-`")
    return text


@lru_cache
def day(text: str) -> date:
    with suppress(ValueError):
        if re.fullmatch(grammar.DATE_PATTERN, text):
            return date.fromisoformat(text)
    raise MistakeError(
        "PG215", f"{shown(text)} is not a day of the calendar", "write year-month-day, such as `2027-03-31`"
    )


@lru_cache
def limit(text: str) -> Limit:
    match = re.fullmatch(grammar.LIMIT_PATTERN, text)
    if match is None or int(match[1]) == 0 or (match[4] and int(match[4]) == 0):
        units = ", ".join(unit.value for unit in Unit)
        raise MistakeError(
            "PG214", f"{shown(text)} is not a limit", f"write `10/minute` or `10/minute burst 20`; units: {units}"
        )
    amount, unit = int(match[1]), Unit(match[2])
    return Limit(amount, unit, int(match[4])) if match[4] else Limit(amount, unit)


def flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise MistakeError("PG228", f"{shown(text)} is neither true nor false", "write `true` or `false`")
    return text == "true"


def prose(text: str) -> str:
    """Free text on one line."""
    return _visible(" ".join(text.split()))


def _visible(text: str) -> str:
    if not text.isprintable():
        hidden = next(character for character in text if not character.isprintable())
        raise MistakeError("PG112", f"it holds the character U+{ord(hidden):04X}", "remove it")
    return text


def version(text: str) -> str:
    if text != grammar.VERSION:
        raise MistakeError(
            "PG228",
            f"this portgate reads version {grammar.VERSION} of the language, not {shown(text)}",
            "write `portgate: 1`",
        )
    return text
