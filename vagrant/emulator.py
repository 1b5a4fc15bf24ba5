"""Two virtual machines of QEMU with a cable between them, and nothing of this machine's network.

Facts
    `-netdev user,restrict=on` lets nothing out but what `hostfwd` lets in; `-netdev stream` is a cable (qemu(1) 7.2).
    /dev/kvm may be there and not work, as inside of another virtual machine, so it is tried.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

KERNEL_PATIENCE = 30.0
_ACCELERATORS = ("kvm", "tcg,tb-size=128")
_LINE = "root=LABEL=portgate-vm rw console=ttyS0 net.ifnames=0 quiet"
_SSH = """\
Host {name}
  HostName 127.0.0.1
  Port {port}
  User vagrant
  IdentityFile {key}
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 60
  ServerAliveInterval 15
  ControlMaster auto
  ControlPath {socket}
  ControlPersist 60
"""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A way to run a virtual machine here. **Units** `seconds` that the kernel needs to look for its disk."""

    name: str
    seconds: float


def accelerator(box: Path) -> Accelerator | None:
    """The fastest that truly starts a kernel."""
    return next((found for name in _ACCELERATORS if (found := _tried(box, name))), None)


def _tried(box: Path, name: str) -> Accelerator | None:
    """Starts the kernel without a disk: it complains, and restarts, which ends QEMU."""
    start = time.monotonic()
    command = [*_qemu(box, name, 256), "-no-reboot", "-serial", "stdio", "-append", "console=ttyS0 panic=-1"]
    try:
        told = subprocess.run(command, capture_output=True, timeout=KERNEL_PATIENCE, check=False).stdout
    except subprocess.TimeoutExpired:
        return None
    return Accelerator(name, time.monotonic() - start) if b"Kernel panic - not syncing: VFS" in told else None


def _qemu(box: Path, name: str, memory: int) -> list[str]:
    """It ends with the process that started it."""
    return [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-accel", name, "-cpu", "max", "-smp", "1", "-m", str(memory),
        "-nodefaults", "-display", "none", "-kernel", str(box / "vmlinuz"),
    ]  # fmt: skip


@contextmanager
def two_machines(box: Path, folder: Path, accelerator: str) -> Iterator[Path]:
    """Starts `target` and `prober`; their disks, consoles, and the file for `ssh -F` that is given, are in `folder`."""
    cable = folder / "cable"
    config = folder / "ssh_config"
    with ExitStack() as running:
        for name, memory, server in (("target", 512, "on"), ("prober", 384, "off")):
            port = _free_port()
            command = [*_qemu(box, accelerator, memory), *_devices(box, folder, name, port, cable, server)]
            running.enter_context(_running(command))
            with config.open("a") as file:
                file.write(_SSH.format(name=name, port=port, key=box / "key", socket=folder / f"{name}.ssh"))
            _await(cable)
        yield config


def _devices(box: Path, folder: Path, name: str, port: int, cable: Path, server: str) -> list[str]:
    disk = folder / f"{name}.qcow2"
    backing = ["-b", str(box / "disk.raw"), "-F", "raw"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk)], check=True)
    last = 1 if server == "on" else 2
    return [
        "-initrd", str(box / "initrd.img"), "-append", _LINE, "-serial", f"file:{folder / name}.console",
        "-drive", f"file={disk},if=virtio,cache=unsafe",
        "-netdev", f"user,id=management,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", "virtio-net-pci,netdev=management,romfile=",
        "-netdev", f"stream,id=lan,server={server},addr.type=unix,addr.path={cable}",
        "-device", f"virtio-net-pci,netdev=lan,romfile=,mac=52:54:00:00:00:0{last}",
    ]  # fmt: skip


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


def _await(path: Path) -> None:
    """Until the first machine holds its end of the cable. Errors: TimeoutError."""
    deadline = time.monotonic() + KERNEL_PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("QEMU did not start")
        time.sleep(0.05)
