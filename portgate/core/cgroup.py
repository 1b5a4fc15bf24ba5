"""What the path of a control group says about who runs in it: the systemd unit and the container.

Facts
    Units are directories named after the unit (systemd.unit(5)). Container engines name a directory after the
    container, through systemd (`docker-ID.scope`) or directly (`/docker/ID`); ID has 64 hexadecimal digits. The
    monitors of podman, CRI-O and LXC run beside their container, in directories with `conmon` or `monitor`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SHORT_ID = 12
"""Digits of a container's id that people see, as in `docker ps`."""


class Place(NamedTuple):
    """Where a process runs. `container` is `engine:id` or `engine:name`."""

    unit: str | None
    container: str | None


def place(path: str) -> Place:
    """The deepest unit and the innermost container on the path."""
    steps = path.split("/")
    unit = next((step for step in reversed(steps) if step.endswith((".service", ".scope"))), None)
    return Place(unit, _container(path))


def path_of(listing: str) -> str:
    """From the text of /proc/PID/cgroup, the path that says most: of version 2, of systemd, else of any controller."""
    paths = {}
    for line in filter(None, listing.split("\n")):  # a path may hold any other character
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths["" if hierarchy == "0" else controllers] = path
    order = ("", "name=systemd", *paths)
    return next((paths[name] for name in order if paths.get(name, "/") != "/"), "/")


_ENGINES = {
    "docker": "docker",
    "libpod": "podman",
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "nerdctl": "containerd",
}
# Compiled when they are used: most hosts have no containers.
_ID = r"/(?:(docker|libpod|cri-containerd|crio|nerdctl)[-/])?([0-9a-f]{64})(?:\.scope)?(?=/|$)"
_LXC = r"/lxc(?:\.payload[./]|/)([^/]+)"
_MACHINE = r"/(?:machine-([^/]+)\.scope|systemd-nspawn@([^/]+)\.service)(?=/|$)"


def _container(path: str) -> str | None:
    ids = list(re.finditer(_ID, path))
    if ids:
        engine, digits = ids[-1].groups()
        unnamed = "kubernetes" if "/kubepods" in path else "container"
        return f"{_ENGINES.get(engine, unnamed)}:{digits[:SHORT_ID]}"
    if lxc := re.search(_LXC, path):
        return f"lxc:{lxc[1]}"
    machine = re.search(_MACHINE, path)
    return f"machine:{machine[1] or machine[2]}" if machine else None
