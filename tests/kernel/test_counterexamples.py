"""Where a policy and a host's rules differ, the packet that shows it fares differently in the kernel, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from portgate import engine
from portgate.backends import get
from portgate.core.capture import Capture, Reading
from portgate.core.verify import Difference, Scope
from portgate.sandbox import Oracle, Sandbox
from tests.engine.test_verify import sent
from tests.generate.packets import probe
from tests.generate.world import LINKS
from tests.kernel.differential import MEANING
from tests.kernel.test_iptables import Host
from tests.written import TODAY

pytestmark = pytest.mark.kernel

POLICY = """\
portgate: 1
name: web
inbound:
  default: drop
  allow: [https, ping, {port: ssh, from: [198.51.100.0/24, "2001:db8:42::/48"]}]
"""
INTERFACES = ",".join(f"{link.name}:{address}" for link in LINKS for address in link.host)
LANGUAGES = ("iptables", "ip6tables")
ALTERED = {
    "another port": ("--dport 443 ", "--dport 444 "),
    "fewer sources": ("-s 198.51.100.0/24 ", "-s 198.51.100.0/25 "),
    "more sources": ("-s 2001:db8:42::/48 ", "-s 2001:db8:42::/47 "),
    "another protocol": ("-p tcp -m tcp --dport 22 ", "-p udp -m udp --dport 22 "),
    "another verdict": ("--comment default -j DROP", "--comment default -j REJECT"),
    "no interface": ("-i lo ", ""),
}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("counterexamples") / "policy.yaml"
    Path(path).write_text(POLICY)
    return str(path)


def compiled(policy: str) -> dict[str, str]:
    """What `compile --to` gives, by language."""
    return {language: engine.compile_policy(policy, language, None, TODAY).text for language in LANGUAGES}


def verified(policy: str, rules: dict[str, str], store: str) -> tuple[Difference, ...]:
    kind = {"nft": "save", "legacy": "legacy-save"}[store]
    readings = [Reading(f"{language}-{kind}", text, "a test") for language, text in rules.items()]
    seen = engine.understand(Capture((*readings, Reading("interfaces", INTERFACES, "a test"))))
    return engine.verify(seen, engine.load(policy, TODAY), TODAY)


@pytest.mark.parametrize("store", ["nft", "legacy"])
@pytest.mark.parametrize("change", ALTERED)
def test_the_kernel_treats_the_counterexample_differently(
    change: str, store: str, policy: str, sandbox: Sandbox, oracle: Oracle
) -> None:
    rules = {language: text.replace(*ALTERED[change]) for language, text in compiled(policy).items()}
    assert rules != compiled(policy)
    found = [one for one in verified(policy, rules, store) if one.scope is Scope.TO_HOST]
    assert found
    probes = [probe(sent(one.packet)) for one in found]
    host = Host(sandbox, oracle)
    oracle.load(get("nftables").emit(engine.rules_for(get("nftables"), engine.load(policy, TODAY), TODAY)).text)
    before = [MEANING[fate] for fate in oracle.judge(probes)]
    host.put("".join(f"##> {language}-{store}-restore\n{text}" for language, text in rules.items()))
    after = [MEANING[fate] for fate in oracle.judge(probes)]
    host.empty()
    assert before == [one.before.fate.value for one in found], found
    assert after == [one.after.fate.value for one in found], found
    assert all(one != other for one, other in zip(before, after, strict=True))
