#!/bin/sh
# Debian calls it with 'remove' and, later or at once, 'purge'; RPM with 0 for a removal. Only a
# purge takes what is not the package's: the token, the settings, and all events.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
case "$1" in
0)
  rm -f /etc/systemd/system/multi-user.target.wants/apixo-relay.service \
    /etc/systemd/system/multi-user.target.wants/apixo-relay-ui.service \
    /etc/systemd/system/multi-user.target.wants/apixo-relay-archive.service
  ;;
purge)
  rm -f /etc/systemd/system/multi-user.target.wants/apixo-relay.service \
    /etc/systemd/system/multi-user.target.wants/apixo-relay-ui.service \
    /etc/systemd/system/multi-user.target.wants/apixo-relay-archive.service
  rm -rf /etc/apixo-relay /var/lib/private/apixo-relay /var/lib/apixo-relay
  ;;
esac
