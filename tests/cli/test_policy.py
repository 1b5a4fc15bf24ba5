"""`check` and `compile`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Done, process

Portgate = Callable[..., Done]
GOOD = "portgate: 1\ninbound: {allow: [https]}\n"
DOUBTFUL = "portgate: 1\ninbound:\n  allow: [https, https]\n"
WRONG = "portgate: 1\ninbound:\n  allow: [htps, 8080]\n"


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / f"{abs(hash(text))}.yaml"
        path.write_text(text)
        return path

    return write


Policy = Callable[[str], Path]


def test_a_good_policy_passes(portgate: Portgate, policy: Policy) -> None:
    path = policy(GOOD)
    done = portgate("check", path)
    assert (done.code, done.err) == (0, "")
    assert str(path) in done.out


def test_doubts_exit_with_1_and_errors_with_2(portgate: Portgate, policy: Policy) -> None:
    assert portgate("check", policy(DOUBTFUL)).code == 1
    assert portgate("check", policy(WRONG)).code == 2


def test_every_mistake_of_every_file_is_told_with_its_place(portgate: Portgate, policy: Policy) -> None:
    done = portgate("check", policy(WRONG), policy(DOUBTFUL), "/nowhere.yaml", policy(GOOD))
    assert done.code == 2
    assert all(code in done.err for code in ("PG205", "PG202", "PG231", "PG101"))
    assert f"{policy(WRONG)}:3:11" in done.err
    assert "^^^^" in done.err
    assert str(policy(GOOD)) in done.out
    assert str(policy(WRONG)) not in done.out


def test_of_notes_that_are_alike_a_few_are_shown_and_of_mistakes_all(portgate: Portgate, policy: Policy) -> None:
    ports = "".join(f"    - {port}/tcp\n" for port in range(40000, 40010))
    done = portgate("check", policy(f"portgate: 1\ninbound:\n  allow:\n{ports}"))
    assert (done.code, done.err.count("note[PG233]")) == (0, 5)
    assert "... and PG233 5 times more" in done.err
    wrong = ports.replace("/tcp", "/tpc")
    assert portgate("check", policy(f"portgate: 1\ninbound:\n  allow:\n{wrong}")).err.count("error[PG201]") == 10


def test_a_file_that_never_ends_is_refused(portgate: Portgate) -> None:
    done = portgate("check", "/dev/zero")
    assert done.code == 2
    assert "not a regular file" in done.err


def test_check_for_programs(portgate: Portgate, policy: Policy) -> None:
    done = portgate("check", policy(WRONG), policy(GOOD), "--format", "json")
    assert (done.code, done.err) == (2, "")
    content = json.loads(done.out)
    assert content["schema"] == 1
    wrong, good = content["policies"]
    assert [one["code"] for one in wrong["diagnostics"]] == ["PG205", "PG202"]
    assert wrong["diagnostics"][0]["span"]["line"] == 3
    assert good == {"file": str(policy(GOOD)), "diagnostics": []}


def test_native_rules_go_to_standard_output_or_to_a_file(portgate: Portgate, policy: Policy, tmp_path: Path) -> None:
    done = portgate("compile", policy(GOOD), "--to", "nftables")
    assert done.code == 0
    assert "table inet portgate" in done.out
    assert portgate("compile", policy(GOOD), "--to", "nftables", "-o", tmp_path / "rules.nft") == Done(0, "", "")
    assert (tmp_path / "rules.nft").read_text() == done.out


def test_a_wrong_policy_is_not_compiled(portgate: Portgate, policy: Policy, tmp_path: Path) -> None:
    done = portgate("compile", policy(WRONG), "--to", "nftables", "-o", tmp_path / "rules.nft")
    assert (done.code, done.out) == (2, "")
    assert "PG205" in done.err
    assert not (tmp_path / "rules.nft").exists()


def test_only_backends_that_exist_are_offered(portgate: Portgate, policy: Policy) -> None:
    assert portgate("compile", policy(GOOD), "--to", "nonsense").code == 2


def test_an_output_file_that_cannot_be_written_is_a_wrong_command_line(portgate: Portgate, policy: Policy) -> None:
    done = portgate("compile", policy(GOOD), "--to", "nftables", "-o", "/nowhere/rules.nft")
    assert done.code == 2
    assert "/nowhere/rules.nft" in done.err


@pytest.mark.parametrize(
    ("language", "dialect"), [("nftables", "freebsd"), ("iptables", "ip6tables"), ("pf", "linux"), ("ipfw", "macos")]
)
def test_a_dialect_that_a_language_has_not_is_refused(
    portgate: Portgate, policy: Policy, language: str, dialect: str
) -> None:
    done = portgate("compile", policy(GOOD), "--to", language, "--dialect", dialect)
    assert (done.code, done.out) == (2, "")
    assert "PG303" in done.err


def test_a_policy_comes_from_standard_input(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("inbound: {allow: [https, htps]}\n")
    text = "portgate: 1\ninclude: [more.yaml]\ninbound: {allow: [ssh]}\n"
    done = process("check", "-", input=text, cwd=tmp_path)
    assert done.returncode == 2
    assert "more.yaml:1:26" in done.stderr
    (tmp_path / "more.yaml").write_text("inbound: {allow: [https]}\n")
    assert process("check", "-", input=text, cwd=tmp_path).stdout == "-: 2 grants\n"


@pytest.mark.parametrize("key", ["include: ['-']", "addresses: {a: {file: '-'}}"])
def test_a_policy_cannot_read_standard_input(tmp_path: Path, key: str) -> None:
    (tmp_path / "policy.yaml").write_text(f"portgate: 1\n{key}\n")
    done = process("check", "policy.yaml", input="portgate: 1\n", cwd=tmp_path)
    assert (done.returncode, "PG101" in done.stderr) == (2, True)
