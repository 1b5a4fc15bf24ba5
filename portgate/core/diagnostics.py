"""What went wrong, where, and what to do: errors are values that are collected, then shown together.

Rules of this file
    A code is stable and never reused. Its summary never contains a user's names, so that the same
    mistake always reads the same; the detail says what is wrong here, the remedy what to do.
    Classes by fault: 1xx text, 2xx meaning, 3xx backend, 4xx reading the host, 5xx applying,
    6xx findings, 9xx a bug of portgate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from portgate.core.dataclasses import dataclass


class Severity(StrEnum):
    """How much a diagnostic matters: only an error stops a command."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Span(NamedTuple):
    """A piece of a text file. Units: lines and columns count from 1, columns in characters; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Kind:
    """An entry of the catalogue. `explanation` is what `portgate explain CODE` prints."""

    code: str
    severity: Severity
    summary: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake or finding. `related` are further places with what each has to do with it."""

    code: str
    detail: str
    span: Span | None = None
    remedy: str | None = None
    related: tuple[tuple[Span, str], ...] = ()

    @property
    def kind(self) -> Kind:
        return CATALOGUE[self.code]

    @property
    def severity(self) -> Severity:
        return self.kind.severity

    @property
    def summary(self) -> str:
        return self.kind.summary


class PortgateError(Exception):
    """A command can't go on. Carries all that is known about why, at least one diagnostic.

    **Shape** `sources` are the texts that the spans point into, by file, where they are known.
    """

    def __init__(self, *diagnostics: Diagnostic, sources: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__("; ".join(f"{one.code}: {one.detail}" for one in diagnostics))
        self.diagnostics = diagnostics
        self.sources = sources

    def __reduce__(self) -> tuple[type[PortgateError], tuple[Diagnostic, ...]]:
        """So that it survives the way out of a child process."""
        return type(self), self.diagnostics

    @property
    def exit_code(self) -> int:
        """2: the command line or a policy is wrong; 3: the host could not be read or changed; 4: our bug."""
        worst = max(one.code[2] for one in self.diagnostics)
        return {"1": 2, "2": 2, "3": 2, "9": 4}.get(worst, 3)


def errors(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Those that stop a command."""
    return tuple(one for one in diagnostics if one.severity is Severity.ERROR)


def _catalogue(*kinds: Kind) -> Mapping[str, Kind]:
    table = {kind.code: kind for kind in kinds}
    if len(table) != len(kinds):
        raise AssertionError("a diagnostic code is defined twice")
    return MappingProxyType(table)


E, W, N = Severity.ERROR, Severity.WARNING, Severity.NOTE

# fmt: off
CATALOGUE = _catalogue(
    # ---- 1xx: the text of a policy (language/)
    Kind("PG101", E, "a file cannot be read", "The policy, or a file that it includes or takes addresses from, is missing, is no plain file, or may not be read. Paths are relative to the file that names them."),
    Kind("PG102", E, "larger than portgate reads", "A policy file may have 16 MiB, an address file 64 MiB, one policy 200 files. The limits keep a wrong path or a hostile file from taking all memory."),
    Kind("PG103", E, "not UTF-8 text", "Policies and address files are UTF-8. Save the file again in that encoding; a byte order mark at its start does no harm."),
    Kind("PG104", E, "not YAML", "The text breaks the rules of YAML here: most often a bracket or quote is not closed, a colon lacks the space after it, or a line is indented differently from its neighbours."),
    Kind("PG105", E, "a tab where YAML wants spaces", "YAML refuses tabs in indentation, because their width differs from editor to editor. Indent with spaces."),
    Kind("PG106", E, "a key is written twice", "YAML readers usually keep the last of two equal keys silently, so half of a policy could vanish. portgate refuses both; put the entries under one key."),
    Kind("PG107", E, "unknown key", "The policy language has no such key here. `portgate schema` prints the JSON Schema for your editor, and docs/language.md lists every key."),
    Kind("PG108", E, "a value of another kind is expected here", "A list, a mapping or a plain value was expected, and something else is written. The remedy shows the form."),
    Kind("PG109", E, "a required key is missing", "The entry can't be understood without this key."),
    Kind("PG110", E, "anchors, aliases and tags are not part of the language", "They can blow a small file up to gigabytes, and hide what a policy says. Give repeated things a name under `zones`, `addresses` or `services` instead."),
    Kind("PG111", E, "nested too deeply", "No policy needs more than a few levels. The limit of 16 keeps hostile files from exhausting the reader."),
    Kind("PG112", E, "invisible or direction-changing character", "Control characters and bidirectional overrides make a file read differently from what it says. Write it in a way that can be seen."),
    Kind("PG113", E, "more than one document in a file", "A policy file is one YAML document. Put the parts into files of their own and `include` them."),
    Kind("PG114", E, "includes form a circle", "A file includes itself, directly or through others. Move what both need into a third file."),
    Kind("PG115", E, "two files contradict each other", "Included files are united: lists and mappings are joined, but of two different plain values neither may win silently. Keep one of them."),
    Kind("PG116", E, "too many mistakes", "Only the first thousand diagnostics are shown; the file is probably not a policy."),
    # ---- 2xx: the meaning of a policy (language/, core/compile.py)
    Kind("PG201", E, "not a port", "A port is written `443/tcp`, `8000-8100/udp`, or as a service name; the protocols are tcp, udp, sctp, dccp and udplite. Several ports are a list."),
    Kind("PG202", E, "a port without a protocol", "A number alone does not say whether TCP, UDP or both are meant, and opening one too many is a hole. Write the protocol behind it."),
    Kind("PG203", E, "port out of range", "Ports are numbers from 1 to 65535; port 0 means \"choose one\" to a program, and nothing listens there."),
    Kind("PG204", E, "an inverted range", "The first value of a range is higher than the last, so it would match nothing."),
    Kind("PG205", E, "unknown service", "The name is neither in the built-in table (`portgate services`) nor under `services`."),
    Kind("PG206", E, "not an address", "An address is written `192.0.2.1`, a prefix `192.0.2.0/24`, a range `192.0.2.1-192.0.2.9`; the same for IPv6. Host names are not looked up: what they mean can change without the policy."),
    Kind("PG207", E, "host bits set in a prefix", "The address has bits beyond the prefix length, so either the address or the length is a slip."),
    Kind("PG208", E, "unknown zone or address set", "The name is defined neither under `zones` nor under `addresses`, here or in an included file."),
    Kind("PG209", E, "not a name that can be given", "Names begin with a letter and go on with up to 47 letters, digits, `_`, `-` and `.`; `any` is reserved."),
    Kind("PG210", E, "one name for two things", "Zones and address sets share one name space, because grants use them in the same places."),
    Kind("PG211", E, "definitions go round in a circle", "A name is defined by itself, directly or through others."),
    Kind("PG212", E, "unknown protocol", "`proto` takes an IP protocol name such as `gre`, `esp` or `ospf`, or a number from 0 to 255."),
    Kind("PG213", E, "both a port and a whole protocol", "`port` already names its protocol; `proto` means all of a protocol. Two entries say both."),
    Kind("PG214", E, "not a rate limit", "A limit is written `10/minute` or `10/minute burst 20`; the units are second, minute, hour and day. It counts new connections for each source address."),
    Kind("PG215", E, "not a date", "Dates are written year-month-day: 2027-03-31. A grant holds through the whole of that day."),
    Kind("PG216", E, "not a name that an interface can have", "Interface names have 1 to 15 bytes, without spaces, slashes or quotes. A `*` at the end stands for the rest."),
    Kind("PG217", E, "can never match", "No packet can fulfil all parts of the entry, for example an IPv6 destination from IPv4 sources. It would look like protection or access that is not there."),
    Kind("PG218", W, "expired", "The grant's last day is over, so it is left out of the rules. Remove it, or give it a new date."),
    Kind("PG219", E, "an id is used twice", "The id of a grant leads from a live rule back to its line, so it must be unique."),
    Kind("PG220", E, "not an id", "An id has 1 to 48 letters, digits, `.`, `_` and `-`: it becomes a comment, label or name in the host's rules."),
    Kind("PG221", E, "the entry says nothing", "Without `port`, `proto`, `from` and `to` the entry would match all traffic. If that is meant, write `from: any`."),
    Kind("PG222", E, "does not apply here", "The key or value has a meaning elsewhere in the language, and none at this place."),
    Kind("PG223", E, "not a place to forward to", "`to` of a forward is a port of this host (`8080`), an address and port (`10.0.0.7:22`, `[2001:db8::7]:22`), or an address that keeps the port."),
    Kind("PG224", W, "an address set without addresses", "What is granted to or from an empty set matches nothing. That is right for a list that happens to be empty today, and worth a look otherwise."),
    Kind("PG225", W, "a built-in service is redefined", "The policy's own meaning holds in this policy. Another name would save readers from a surprise."),
    Kind("PG226", E, "not an expectation", "An expectation is either `{port: ..., from: ..., is: accepted}` (or `blocked`), or `{only: [...]}` with all that may be open to anybody."),
    Kind("PG227", W, "grants that the default makes pointless", "The default already accepts everything, so `allow` changes nothing: only `block` does. Set the default to drop or reject to have the list decide."),
    Kind("PG228", E, "not one of the possible values", "Only the words that the remedy lists are understood here. YAML's other spellings, such as yes and on, are not."),
    Kind("PG229", E, "two forwards contradict each other", "A packet is sent on to one place, and the order of entries in a policy means nothing, so for packets that both forward nobody could tell which place is meant."),
    Kind("PG231", W, "redundant grant", "Another grant already allows all of this traffic from the same sources. Remove one, so that revoking the other does what it seems to."),
    Kind("PG232", W, "a block takes everything away from a grant", "`block` wins over `allow`, and one block covers all of this grant: it opens nothing."),
    Kind("PG233", N, "a port of the ephemeral range", "The kernel hands ports 32768 to 60999 to outgoing connections, so a service there can fail to start. Use a lower port, or reserve it with net.ipv4.ip_local_reserved_ports."),
    Kind("PG234", W, "a risky service is open to everybody", "The service was made for trusted networks: it has no or weak authentication, sends secrets in clear text, or is misused to attack others. Say with `from` who needs it, or put it behind a VPN."),
    Kind("PG235", E, "a block takes away what is to be opened", "`block` wins over `allow`, so a grant for this port would open nothing. Remove or narrow the block; a block of just this port, as `portgate close` writes it, `portgate open` removes by itself, though not with `--for`."),
    Kind("PG236", E, "a policy that is not edited here", "`open` and `close` put entries into a policy file and take them out, and then read it again to see that it says what was meant. This file is written in a way for which that does not come out right. Nothing was changed; the remedy is the edit to make by hand."),
    Kind("PG237", E, "this can't be opened for a time", "What is opened for a time is held by the kernel as ports and addresses. It can't be told by interfaces, and protocols without ports have none. Name addresses, or open it without `--for`, with `expires` in the policy."),
    # ---- 3xx: what a backend can't express (backends/)
    Kind("PG301", E, "the backend has not got what the policy needs", "Firewalls differ in what they can say. What this policy asks for cannot be written for this backend with the same meaning, and portgate never widens or drops a grant in silence."),
    Kind("PG302", E, "the backend can't write this rule", "The firewall's language has no words for this part of a rule, and nothing that would mean exactly the same. Nothing was written: a rule that is nearly right would open or close the wrong thing."),
    Kind("PG303", E, "unknown dialect", "Some firewalls speak differently on different systems. The dialect names the system whose words are wanted."),
    # ---- 4xx: reading the host (host.py, backends/, sockets/)
    Kind("PG411", E, "not a listing of nftables", "The text is not what `nft -j list ruleset` prints: JSON, an object with the list \"nftables\". Nothing was concluded from it. Single rules that are not understood are no error: they count as undecided."),
    Kind("PG412", E, "not one line is a command of nft", "The text is neither the output of `nft list ruleset` nor a script for `nft -f`. Scripts of the shell that call nft are not interpreted: load them, and save the rules."),
    Kind("PG413", E, "not a listing of iptables", "Not one line of the text is what `iptables-save` prints or `iptables-restore` takes. Nothing was concluded from it. Single lines that are not understood are no error: they count as rules that may do anything. Scripts of the shell that call iptables are not interpreted: load them, and save what they made."),
    Kind("PG414", E, "not a listing of ipset", "The text is not what `ipset save` prints: a line `create NAME TYPE ...` for each set, and `add NAME ELEMENT` for each member."),
    Kind("PG415", W, "something in a listing may be any rule", "A line that is not understood, or an `include`, may add, move or remove rules, so every answer that it could change says that it depends on it. Included files are not looked for: they are another host's. Load the file where it belongs, and save what is listed then (`nft list ruleset`, `iptables-save`), or write what it includes into it."),
    Kind("PG420", E, "not a capture", "The file given as the host is not one that `portgate capture` writes. Captures are JSON with a schema number; a capture of plain saved output is made with `portgate capture --from KIND=FILE -o host.json`."),
    Kind("PG421", W, "a part of the host could not be read", "What is missing here is missing in every answer. Most often root is needed, or a program is not installed; the detail says which."),
    Kind("PG423", E, "a file given as part of the host cannot be read", "`capture --from KIND=FILE` and `--host FILE` read regular files of UTF-8 text, up to a stated size."),
    Kind("PG424", E, "nothing is known about the host's rules", "The question is about what rules do to packets, and the host or the capture tells of no rules at all. On a live host root is needed to read them; a capture needs a part like `nft-json`. No rules is not the same as unknown rules."),
    Kind("PG425", N, "what listens is not known", "Rules were read, sockets were not, so nothing is said about listeners: neither who can be reached, nor which grants nobody uses."),
    Kind("PG422", E, "no backend can read or change this host", "portgate drives a firewall that the host has. None of its backends is usable here; `portgate backends` says why for each of them."),
    Kind("PG426", E, "rules that hang on too many doubts", "What can't be decided for a packet, such as a rate limit, is asked both ways. Rules in which thousands of such doubts stand one behind the other, or expressions as deep, are more than portgate can follow. Nothing was concluded from them."),
    Kind("PG430", E, "the host can't be probed", "A host is probed by the first address of each family that its name has, over the routes of this machine. There is no such name, no such address, or no route to it."),
    Kind("PG440", N, "the owners of some sockets are not known", "Only root may see which process of another user holds a socket. Everything else about these sockets is known. Run the command as root to see their owners, too."),
    Kind("PG441", N, "sockets were read from /proc/net", "The kernel did not answer a netlink sock_diag request (old or small kernel, or a sandbox that forbids it). The files in /proc/net list the same sockets, but do not tell which IPv6 sockets take IPv4, nor the device that a socket is bound to."),
    Kind("PG442", W, "sockets of a protocol could not be seen", "Neither netlink sock_diag nor /proc/net told of the sockets of this protocol, so what listens there is missing from every answer. Loading the kernel module named, or running as root, usually helps."),
    Kind("PG443", W, "a line of saved socket output was not understood", "The line was left out, so a listener may be missing. docs/sockets.md lists the programs whose output portgate reads; with -n, because names of ports have no fixed number."),
    Kind("PG444", N, "something that the source does not tell was assumed", "Some ways to list sockets leave out whether an IPv6 wildcard socket takes IPv4, too, or which protocol a socket speaks. The detail says what was assumed: what Linux does by default."),
    Kind("PG445", E, "a reading of the host is damaged", "The saved text is not what portgate writes there, so nothing was concluded from it. Take the capture again."),
    Kind("PG446", E, "not a list of interfaces", "Interfaces are written NAME:ADDRESS/PREFIX,NAME:ADDRESS/PREFIX,... where the first colon ends the name; `eth1:` has no address, `eth1:down` is not up, `em0:group=egress` is in that group of BSD."),
    Kind("PG447", E, "a kernel setting has a value that it can't have", "The saved text of kernel settings has lines `name = value`. The value of this one is not what the kernel prints there."),
    Kind("PG448", W, "interfaces of the host could not be read", "Without its interfaces and addresses, it is not known from where a listener can be reached, so answers are given for any interface. The kernel refused the question, or an interface has a name that no rule can hold."),
    Kind("PG449", E, "not a listing of routes", "Routes are read as `ip -json -4 rule` and `ip -json -4 route show table all` print them, one behind the other, and likewise with -6. Rules that look something up in them, such as nft's `fib saddr . iif oif missing`, can then be decided."),
    Kind("PG451", W, "the policy names an interface that this host has not got", "Rules about an interface match nothing while it is not there, and start to match when it comes up. If it never will, the name is a slip."),
    Kind("PG452", W, "the kernel does not forward", "The policy sends traffic on to another host, and the kernel setting that lets packets through this host is off. The rules are right and have no effect."),
    Kind("PG470", E, "not one line is a statement of pf", "The text is neither a pf.conf nor the output of `pfctl -sr`."),
    Kind("PG471", E, "macros of pf that grow without end", "Each macro may use others, so a few lines can stand for gigabytes. Reading stops at a few million words."),
    Kind("PG472", E, "pf is not here, or can't be asked", "pf is the packet filter of OpenBSD, FreeBSD and macOS. It is driven by the program pfctl, as root, and reads rules through /dev/pf."),
    Kind("PG463", E, "iptables is not here, or can't be asked", "portgate drives iptables through its save and restore programs, of the store that the host uses: iptables-nft-save and its siblings, or iptables-legacy-save. They need CAP_NET_ADMIN in the network namespace."),
    Kind("PG464", E, "a table holds what iptables can't show", "Native rules of nf_tables stand in a table that iptables uses, too, and iptables says nothing about the rules of such a table. Nothing was changed. Use the nftables backend on this host, or move the native rules to a table of their own."),
    Kind("PG480", E, "not one line is of ipfw", "The text is neither what `ipfw list`, `ipfw show` or `ipfw table all list` prints, nor a file for `ipfw FILE`, nor a script that calls ipfw."),
    Kind("PG481", E, "a line that ipfw would refuse", "A file for `ipfw FILE` holds one command a line, without the word ipfw; rules have numbers from 1 to 65534 and sets from 0 to 31. ipfw stops at the first line that it refuses, so nothing is concluded from such a file."),
    Kind("PG482", E, "ipfw is not here, or can't be asked", "ipfw is a packet filter of FreeBSD. It is driven by the program ipfw, as root, and its module must be loaded. Loading the module closes the host at once unless net.inet.ip.fw.default_to_accept is set; the manual's line is `kldload ipfw && ipfw add 32000 allow ip from any to any`."),
    Kind("PG483", E, "a script that has no end", "Loops and functions of a script are followed, so a few lines can stand for gigabytes. Reading stops at ten times the words that are written, or at 50,000."),
    Kind("PG460", E, "no libnftables", "portgate drives nftables through libnftables.so.1, which is a package of its own on most distributions, and its Python binding."),
    Kind("PG461", E, "no permission for the firewall", "Rules are read and changed only with CAP_NET_ADMIN in the network namespace. Reading is refused, too, so nothing about the rules is known."),
    Kind("PG462", E, "the kernel has no nf_tables", "The kernel was built without nf_tables, its module is not loaded and cannot be, or a sandbox hides it."),
    # ---- 5xx: applying (apply/, sessions)
    Kind("PG520", E, "the state directory cannot be used", "Before anything is touched, portgate makes sure that it can record what it does. The directory must belong to the user who applies, be on a writable file system with free space, and no part of it may be a symbolic link that somebody else made. PORTGATE_STATE_DIR names another."),
    Kind("PG521", E, "another apply holds the lock", "Applies to one host run one after the other. The one that holds the lock did not finish in time; look whether it waits for an answer."),
    Kind("PG522", E, "what was loaded does not do what the policy says; the old rules are back", "After loading, portgate reads the host again and compares. The live rules did not mean what was asked for, or could not be read, so it restored what was there before."),
    Kind("PG523", E, "the old rules could not be restored", "A step of the apply failed, and so did putting the old rules back. The host may have any of the two rule sets, or parts of them: look with `portgate status` and apply again."),
    Kind("PG525", E, "a packet is treated otherwise than the policy says", "The rules that were read back were compared with the policy by what they do to packets. This is a packet that shows the difference."),
    Kind("PG526", E, "the plan no longer holds", "A plan is about one policy and the rules that a host had. Since it was shown, or saved for `apply --planned`, somebody changed one of them. Nothing was changed; make the plan anew, and look at it again."),
    Kind("PG524", W, "the rules are loaded, but the record of it could not be written", "The host enforces the new rules. Only the note of it in the state directory is missing, so the next apply compares in full instead of taking the short cut."),
    Kind("PG540", E, "the plan would cut a session", "The packets of an established SSH session would no longer pass, in or out. portgate decides that with the planned rules before anything is touched, and refuses. `--override PG540` goes on all the same."),
    Kind("PG541", E, "the plan would not let you in again", "A new connection from where your own SSH session comes from would be refused. The session itself may go on, but it is the last one; and where nothing tracked connections before, it counts as new, too. `--override PG541` goes on all the same."),
    Kind("PG542", E, "the plan would lock the management out", "The policy names under `management` who must never be locked out, and a new connection from there to a port of the SSH server would be refused. Grant it, or correct `management`. `--override PG542` goes on all the same."),
    Kind("PG543", W, "somebody who is connected could not come back", "Somebody else has a connection to the SSH server now. It would go on, but a new one from the same address would be refused. It may be an administrator's, or somebody's who guesses passwords, so this stops nothing."),
    Kind("PG544", E, "an apply waits for its confirmation", "The rules of an earlier apply are in force on trial: a guard restores the older ones at the deadline. Until `portgate confirm` or `portgate rollback` has decided, nothing else is applied, so that the two can't get into each other's way."),
    Kind("PG545", E, "a confirmation counts from a new connection", "Your connection was established before the new rules were loaded, so it proves nothing about them; that holds for every connection that was there then, not only for the one that applied. Log in once more, and confirm from there; `--same-session` counts this one all the same."),
    Kind("PG546", E, "the guard could not be started", "Before rules are loaded on trial, a process of its own is started that will restore the old ones. It did not come up, so nothing was loaded. `--confirm 0` applies without it."),
    Kind("PG547", W, "an unfinished apply was undone", "An apply ended before its rules were proven and confirmed: it was killed, or the machine was. The next command found its journal, and the rules of before are in force."),
    Kind("PG548", W, "an unfinished apply was finished", "An apply ended after its rules were loaded and proven, but before that was recorded. The next command found its journal and recorded it."),
    Kind("PG549", E, "nothing to confirm or to go back to", "`confirm` needs an apply that waits for it, `rollback` a revision that is kept. The last fifty generations are; `portgate history` lists them."),
    Kind("PG550", W, "the machine will not start with these rules", "The rules are loaded and confirmed, but what loads them at the next start of the machine could not be written. Until that is mended it starts with what was written last, or with nothing of portgate's. `--no-persist` leaves it out on purpose."),
    Kind("PG551", E, "the policy file could not be written", "`open` and `close` write the edited policy before its rules are loaded, so that the two never part. It could not be written, or somebody else changed it in the meantime. Nothing was loaded."),
    Kind("PG552", E, "nothing is in force that a port could be opened in", "What is opened for a time is added to the rules of a policy. None was applied on this host, or none is named."),
    # ---- 59x: the sandbox (sandbox/)
    Kind("PG590", E, "no network namespace can be made", "The sandbox is a network namespace of its own. The kernel grants one to root, and to other users where user namespaces are allowed; containers and hardened systems often forbid both."),
    Kind("PG591", E, "a process of the sandbox ended unexpectedly", "What happens in the sandbox is done by child processes, which report to portgate. One ended without a report: it was killed, or memory ran out."),
    Kind("PG592", E, "a program failed in the sandbox", "The sandbox is built with `ip` (iproute2), `nsenter` and `setpriv` (util-linux), and rules are loaded into it with the tools of their firewall. One of these is missing or refused; the detail quotes what it said."),
    Kind("PG593", E, "a packet sent in the sandbox never arrived", "Every packet is counted when it arrives, before any rule. A lost one says nothing about the rules, so no result is given. Routing may have refused its source address, or the machine is overloaded."),
    Kind("PG594", E, "the kernel treats a packet otherwise than the engine says", "The policy was applied to a host in a sandbox, a packet was sent, and the kernel did not do what portgate's model of it says. Either the model is wrong for this kernel, or something in the sandbox was too slow to answer. If it happens again, please report it."),
    Kind("PG530", E, "a table of portgate's name is not portgate's", "portgate replaces the table `inet portgate` and marks it as its own. A table of this name without the mark was made by somebody else, and is left alone."),
    Kind("PG531", E, "the kernel or libnftables refused the rules", "The script was not taken, as a whole: the rules that were there before are still in force. The detail says what was refused, and where in the script."),
    Kind("PG532", E, "the kernel lacks something that the rules need", "The kernel knows nf_tables but not every part of it that these rules use. Nothing was loaded; the rules that were there before are still in force."),
    Kind("PG533", E, "iptables or ipset refused the rules", "What was loaded is tried in a network namespace of its own before anything is touched. If a part is refused after others were taken, those are taken back, so the rules that were there before are in force. The detail quotes what the program said."),
    Kind("PG534", W, "rules of portgate are in force through another backend, too", "What was applied through one firewall stays when another one is chosen, so a packet must pass both. Apply with the same `--backend` as before, or remove the older rules with the tools of their firewall: `nft delete table inet portgate`, or the jumps to the chains PORTGATE-... of iptables."),
    Kind("PG560", E, "pfctl refused the rules", "The anchor was not loaded: pfctl replaces an anchor as a whole or not at all, so the rules that were there before are still in force."),
    Kind("PG561", E, "the main rules have no place for the anchor", "Rules in an anchor do nothing unless the main rules of pf call it. portgate does not edit /etc/pf.conf, which the system or another tool may own."),
    Kind("PG562", E, "pf is switched off", "While pf is disabled no rule of it is in force, so a policy that was loaded would not be kept. It is off by default on FreeBSD and macOS."),
    Kind("PG570", E, "ipfw refused the rules", "The new rules are added to a set that is disabled, and come into force all at once at the end. It did not come to that, so the rules that were there before are still in force."),
    Kind("PG571", E, "the sets of portgate hold rules of somebody else", "portgate keeps its rules in set 28 and uses set 29 while it loads new ones. What it finds there must be its own, for it would be deleted. Move the other rules to another set, with `ipfw set move`."),
    # ---- 6xx: findings of the audit (core/audit.py)
    Kind("PG601", W, "listening, and blocked", "A socket listens, and the live rules let no new connection reach it. Either grant its port in the policy, or stop the program if nobody needs it."),
    Kind("PG602", W, "listening and reachable, but the policy does not allow it", "The live rules let packets through to this listener that the policy does not allow. Apply the policy, or grant the port."),
    Kind("PG603", N, "allowed, and nothing listens", "The policy opens a port on which no socket listens. It is harmless today and a surprise tomorrow: remove the grant or start the service."),
    Kind("PG604", W, "reachable in spite of the policy", "Rules that are not portgate's (another tool's, a container engine's published port) or the other IP family let packets through that the policy denies."),
    Kind("PG605", W, "allowed by the policy, dropped by another tool's rules", "Every base chain of a hook must accept a packet. The policy allows this one, a rule that is not portgate's drops it."),
    Kind("PG606", N, "listening on all addresses where the policy opens one", "The socket is bound to the wildcard address although the policy opens the port on one address only. Bind it to that address."),
    Kind("PG607", W, "legacy and nft rules both filter this host", "iptables-legacy and nf_tables rules are active at once, and a packet must pass both. Move the legacy rules over and empty the legacy tables."),
    Kind("PG608", N, "a rule that can never match, or that another makes redundant", "It could go, and every packet would fare as before: earlier rules decide all that it matches, or the rules behind it, or the chain's default, would do the same to all that it decides. All rules that are told so could go together. A rule that logs, counts against a limit, marks or translates is only told when it never matches."),
    Kind("PG609", N, "a listener on a port of the ephemeral range", "The kernel hands ports of this range to outgoing connections, so the service can fail to start, and its number may change. Use a port outside of ip_local_port_range."),
    Kind("PG610", W, "a packet or raw socket that firewalls do not see", "Packet sockets read frames before any firewall rule does, and raw sockets need no port. What such a program answers cannot be fenced with rules."),
    Kind("PG611", N, "a risky service can be reached from everywhere", "A service that was made for trusted networks (a database, file sharing, remote administration) listens here, and any source may connect. `portgate services PORT` tells the risk. Bind it to an address inside, or grant it to who needs it."),
    Kind("PG612", N, "a chain too involved to look for all redundant rules", "Its rules overlap so much that finding all those that others make redundant would take too long. Rules that never match are told all the same."),
    # ---- 62x: broken expectations (core/expect.py)
    Kind("PG620", E, "what should be accepted is blocked", "The policy expects all of this traffic to be accepted, and some of it is not: a `block` takes it away, or no grant allows it. `from: any` means every source, blocked ones too; `{any: any, except: NAME}` leaves them out."),
    Kind("PG621", E, "what should be blocked is accepted", "The policy expects none of this traffic to get in, and a grant or the default lets some of it through. What is granted up to a rate limit counts as let through."),
    Kind("PG622", E, "more is open than the policy says", "`only` lists all that may be open to anybody. Something else is, through a grant or through the default. What every host needs (replies, loopback, the ICMP errors and neighbour discovery) does not count."),
    # ---- 63x: probes from outside (probing.py)
    Kind("PG630", W, "a port answers that the policy blocks", "Somebody answered a connection or a datagram that the policy does not let in: a program, the host itself, or a router on the way that rejects. Look on the host with `portgate verify` and `portgate audit`; over NAT, say with --from how the host sees you."),
    Kind("PG631", W, "a port is silent that the policy opens", "Nothing came back from a TCP port that the policy opens to this source, not even a refusal. Another firewall on the way drops it, the policy is not applied, or the host sees another source address (--from)."),
    # ---- 9xx: a bug of portgate
    Kind("PG901", E, "portgate failed in a way that it should not", "This is a bug of portgate. The message names a file that reproduces it; please report it."),
    Kind("PG902", E, "portgate's own output does not mean what the policy says", "Before anything is loaded, portgate reads its own output back and compares the two meanings. They differ, so nothing was loaded. This is a bug of portgate."),
)
# fmt: on

OBJECTIONS = ("PG540", "PG541", "PG542")
"""What stops an apply unless it is overridden."""
