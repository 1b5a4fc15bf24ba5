"""`test`, and the formats for CI systems of `check`, `test`, `audit` and `verify`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.structure import check_junit, check_sarif

from .conftest import Done

Portgate = Callable[..., Done]
ROOT = Path(__file__).parents[2]
KEPT = "portgate: 1\ninbound: {allow: [https]}\nexpect:\n  - {only: [https]}\n"
BROKEN = "portgate: 1\ninbound:\n  allow:\n    - https\n    - 8080/tcp\nexpect:\n  - {only: [https]}\n"
WRONG = "portgate: 1\ninbound: {allow: [htps]}\n"
NOTHING = "portgate: 1\ninbound: {allow: [https]}\n"
RULES = """table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		tcp dport 443 accept
	}
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of four policies, one of them in a folder below, and what is no policy."""
    policies = tmp_path / "policies"
    (policies / "more").mkdir(parents=True)
    (policies / ".hidden").mkdir()
    (policies / "kept.yaml").write_text(KEPT)
    (policies / "broken.yml").write_text(BROKEN)
    (policies / "nothing.yaml").write_text(NOTHING)
    (policies / "more" / "wrong.yaml").write_text(WRONG)
    (policies / "README").write_text("no policy")
    (policies / ".hidden" / "workflow.yml").write_text("on: push")
    return policies


def test_a_kept_policy_exits_with_0(portgate: Portgate, folder: Path) -> None:
    path = folder / "kept.yaml"
    assert portgate("test", path) == Done(0, f"{path}: 1 of 1 expectations hold\n", "")


def test_a_broken_expectation_exits_with_1_and_points_at_the_grant(portgate: Portgate, folder: Path) -> None:
    done = portgate("test", folder / "broken.yml")
    assert done.code == 1
    assert f"{folder / 'broken.yml'}:7:5" in done.out
    assert "- 8080/tcp" in done.out
    assert "^^^^^^^^ allows tcp 198.51.100.7:40000 to port 8080" in done.out
    assert done.out.endswith("0 of 1 expectations hold\n")


def test_a_policy_that_expects_nothing_says_so(portgate: Portgate, folder: Path) -> None:
    assert portgate("test", folder / "nothing.yaml").out.endswith("nothing.yaml: expects nothing\n")


def test_a_folder_stands_for_the_policies_below_it(portgate: Portgate, folder: Path) -> None:
    done = portgate("test", folder, "--format", "json")
    assert (done.code, done.err) == (2, "")
    found = {Path(one["file"]).name: one for one in json.loads(done.out)["policies"]}
    assert list(found) == ["broken.yml", "kept.yaml", "wrong.yaml", "nothing.yaml"]
    assert [one["holds"] for one in found["kept.yaml"]["expectations"]] == [True]
    assert [one["code"] for one in found["wrong.yaml"]["diagnostics"]] == ["PG205"]
    broken = found["broken.yml"]["expectations"][0]
    assert broken["text"] == "only 443/tcp"
    assert broken["diagnostic"]["code"] == "PG622"
    assert broken["counterexamples"][0]["packet"]["dport"] == 8080
    assert broken["counterexamples"][0]["grant"].startswith("8080-tcp")


@pytest.mark.parametrize("command", ["check", "test"])
def test_a_folder_without_policies_is_no_success(portgate: Portgate, command: str, tmp_path: Path) -> None:
    done = portgate(command, tmp_path)
    assert done.code == 2
    assert "PG101" in done.err


@pytest.mark.parametrize("command", ["check", "test"])
def test_the_formats_of_ci_systems(portgate: Portgate, command: str, folder: Path) -> None:
    done = portgate(command, folder, "--format", "sarif")
    assert (done.code, done.err) == (2, "")
    document = json.loads(done.out)
    check_sarif(document)
    assert "PG205" in {one["ruleId"] for one in document["runs"][0]["results"]}
    suites = check_junit(portgate(command, folder, "--format", "junit").out)
    assert len(suites) == 4
    assert "title=PG205" in portgate(command, folder, "--format", "github").out


@pytest.mark.parametrize("command", ["audit", "verify"])
def test_questions_about_a_host_in_the_formats_of_ci_systems(
    portgate: Portgate, command: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "rules.nft").write_text(RULES)
    (tmp_path / "ss").write_text('tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("ssh<d",pid=1,fd=3))\n')
    host = tmp_path / "host.json"
    parts = ("--from", f"nft={tmp_path / 'rules.nft'}", "--from", f"ss={tmp_path / 'ss'}")
    assert portgate("capture", *parts, "-o", host).code == 0
    policy = folder / "broken.yml"
    done = portgate(command, policy, "--host", host, "--format", "sarif")
    assert done.code == 1
    document = json.loads(done.out)
    check_sarif(document)
    results = document["runs"][0]["results"]
    lines = {one["locations"][0]["physicalLocation"].get("region", {}).get("startLine") for one in results}
    assert 5 in lines, "the grant of 8080/tcp, which the host does not have"
    assert int(check_junit(portgate(command, policy, "--host", host, "--format", "junit").out).attrib["tests"]) >= 1


def test_the_examples_keep_their_promises(portgate: Portgate) -> None:
    done = portgate("test", ROOT / "policies")
    assert (done.code, done.err) == (0, "")
    assert done.out.count(" expectations hold\n") == len(list((ROOT / "policies").glob("*.yaml")))
