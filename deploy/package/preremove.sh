#!/bin/sh
# Debian calls it with 'remove', or 'upgrade' and the new version; RPM with 0 for a removal and
# 1 for an upgrade, in which the services run on until the new program is there.
set -e
case "$1" in
remove | 0)
  if [ -d /run/systemd/system ]; then
    systemctl stop apixo-relay apixo-relay-ui apixo-relay-archive
  fi
  ;;
esac
