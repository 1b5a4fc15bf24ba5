"""The machines, and the time limit."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from portgate import backends
from vagrant import expectations, lan
from vagrant.checks import NOT_RUN
from vagrant.machine import Machine
from vagrant.pair import Pair

ROOT = Path(__file__).parents[2]
POLICIES = sorted(path.stem for path in (ROOT / "policies").glob("*.yaml"))
_start = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ssh-config", type=Path, required=True, help="a file for `ssh -F` that has both machines")
    parser.addoption("--target", default="target", help="the name of the host under test there")
    parser.addoption("--become", default="sudo -n", help="what makes a command run as root there")
    parser.addoption("--prober", default="prober", help="the name of the prober")
    parser.addoption("--target-address", default=lan.TARGET, help="that of the host under test towards the prober")
    parser.addoption("--seconds", type=float, default=3600, help="the time limit")
    parser.addoption("--restart-for", default="web-server", help="policies after which it is started anew, or `all`")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "restarting" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--restart-for").split(",")
        metafunc.parametrize("restarting", POLICIES if wanted == ["all"] else wanted)
    if "policy" in metafunc.fixturenames:
        metafunc.parametrize("policy", POLICIES)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() - _start > item.config.getoption("--seconds"):
        pytest.exit(f"NOT RUN to the end: the time is up before {item.name}", returncode=NOT_RUN)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.testsfailed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def pair(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Both machines, with portgate installed from this checkout."""
    option = pytestconfig.getoption
    target = Machine(option("--target"), option("--ssh-config"), tuple(option("--become").split()))
    prober = Machine(option("--prober"), option("--ssh-config"))
    listing = target.run("sh", "-c", "ip -o address 2>/dev/null || ifconfig -a").stdout
    management = lan.interface_of(listing, target.here())
    towards_prober = lan.interface_of(listing, option("--target-address"))
    addresses = (option("--target-address"), lan.TARGET6)
    made = Pair(target, prober, expectations.load(), addresses, management or "eth0", towards_prober or "eth1")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--no-build-isolation"]  # with the build tool that is installed here: there may be no network
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.iterdir()
    made.prepare(wheel, ROOT / "policies", tmp_path_factory.mktemp("machines"))
    return made


@pytest.fixture(scope="session", params=list(backends.names()))
def backend(request: pytest.FixtureRequest, pair: Pair) -> str:
    """Each that the host has; before the first packet it has no rules of portgate's."""
    name: str = request.param
    if why_not := pair.lacks(name):
        pytest.skip(f"{name}: {why_not}")
    pair.forget()
    return name
