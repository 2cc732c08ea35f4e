#!/bin/sh
# Debian calls it with 'configure' and, unless the package is new here, the version that was
# here before; RPM with 1 for a new package and 2 for an upgrade.
set -e

# The units have this file as a credential, and the secret is nobody's but this machine's.
tokens=/etc/apixo-relay/tokens
if [ ! -e "$tokens" ]; then
  (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$tokens")
fi

[ -d /run/systemd/system ] || exit 0 # in a container, or while an image is built
systemctl daemon-reload
case "$1,$2" in
configure,)
  # As Debian does it: what is installed runs. Nobody but this machine can reach it.
  systemctl enable --now apixo-relay
  ;;
configure,*)
  for unit in apixo-relay apixo-relay-ui apixo-relay-archive; do
    if systemctl --quiet is-enabled "$unit" 2>/dev/null; then
      systemctl restart "$unit"
    fi
  done
  ;;
1,*)
  # As distributions with RPM do it: what is to run, a preset says.
  systemctl preset apixo-relay apixo-relay-ui apixo-relay-archive
  ;;
*)
  systemctl try-restart apixo-relay apixo-relay-ui apixo-relay-archive
  ;;
esac
