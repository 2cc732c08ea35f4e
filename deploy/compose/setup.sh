#!/bin/sh
# Makes what compose.yaml needs and nobody but you may have: certificates, passwords
# and a token, in the folder secrets, and the file .env. What is there already stays
# as it is: to change something, delete its file and run this again.
set -eu
cd "$(dirname "$0")"

# The folder keeps others on this machine out. The files in it can be read by anybody,
# since Compose mounts them with their owner, who is nobody's user in a container.
umask 022
mkdir -p secrets
chmod 700 secrets

# secret NAME COMMAND...: what the command prints becomes the secret, whole or not at all.
secret() {
  name=$1
  shift
  [ -e "secrets/$name" ] && return
  "$@" >"secrets/$name.new"
  chmod 644 "secrets/$name.new"
  mv "secrets/$name.new" "secrets/$name"
  echo "made secrets/$name"
}

# nats-server reads a password that begins with a digit as a number.
password() { printf 'p%s\n' "$(openssl rand -hex 24)"; }

secret webhook-tokens openssl rand -hex 16
for name in relay consumer operator sys grafana; do
  secret "$name-password" password
done

if [ ! -e secrets/tls/ca.pem ]; then
  mkdir -p secrets/tls
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout secrets/tls/ca-key.pem -out secrets/tls/ca.pem -days 3650 -subj "/CN=CA" 2>/dev/null
  printf 'subjectAltName=DNS:nats-1,DNS:nats-2,DNS:nats-3,DNS:localhost,IP:127.0.0.1\n' >secrets/tls/ext
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout secrets/tls/server-key.pem -out secrets/tls/server.csr -subj "/CN=nats" 2>/dev/null
  openssl x509 -req -in secrets/tls/server.csr -CA secrets/tls/ca.pem -CAkey secrets/tls/ca-key.pem -CAcreateserial -out secrets/tls/server.pem -days 825 -extfile secrets/tls/ext 2>/dev/null
  chmod 644 secrets/tls/*
fi

if [ ! -e .env ]; then
  cp .env.example .env
  echo "made .env"
fi
