#!/bin/sh
# Starts `up`, which brings up the network of the checks and listens; with systemd, at every start of the machine too.
set -eu
up=$(dirname "$0")/up
chmod +x "$up"
if [ -d /run/systemd/system ]; then
    cat >/etc/systemd/system/portgate-vm.service <<UNIT
[Unit]
Description=The network and the listeners of portgate's checks
After=network-pre.target
[Service]
ExecStart=$up
[Install]
WantedBy=multi-user.target
UNIT
    systemctl --quiet enable portgate-vm
    systemctl restart portgate-vm
else
    nohup "$up" >/dev/null 2>&1 &
fi
