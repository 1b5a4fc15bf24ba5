#!/bin/sh
# Installs a wheel of portgate into /opt/portgate: install.sh WHEEL. What the system's Python has already is not fetched.
set -eu
python=python3
for newer in python3.11 python3.12 python3.13; do
    command -v "$newer" >/dev/null && python=$newer
done
[ -x /opt/portgate/bin/pip ] || "$python" -m venv --system-site-packages /opt/portgate
offline=
/opt/portgate/bin/python -c 'import click, yaml' 2>/dev/null && offline='--no-index --no-deps'
# shellcheck disable=SC2086  # two words or none
/opt/portgate/bin/pip install --quiet --disable-pip-version-check --force-reinstall $offline "$1"
