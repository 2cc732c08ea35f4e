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
# To sign in to the operator's page with.
secret ui-tokens openssl rand -hex 16
# For RELAY_EXPECT and RELAY_VERIFY: yours goes in its place.
secret apixo-api-key echo REPLACE-ME
# For an archive in S3, as its own tools have them in ~/.aws/credentials: yours go in its place.
secret s3-credentials echo REPLACE-ME
for name in relay consumer operator ui archive sys grafana; do
  secret "$name-password" password
done

# One certificate for the three servers, which speak TLS to clients and to each other,
# from an authority of your own. Its key stays out of the folder that is mounted.
if [ ! -e secrets/tls ]; then
  new=secrets/tls.new
  rm -rf "$new"
  mkdir "$new"
  key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
  # shellcheck disable=SC2086 # several words
  openssl req -x509 $key -keyout secrets/ca-key.pem -out "$new/ca.pem" -days 3650 \
    -subj '/CN=apixo-relay authority'
  # shellcheck disable=SC2086
  openssl req $key -keyout "$new/server-key.pem" -subj '/CN=nats' |
    openssl x509 -req -CA "$new/ca.pem" -CAkey secrets/ca-key.pem -set_serial "0x$(openssl rand -hex 8)" \
      -out "$new/server.pem" -days 3650 -extfile nats-names.cnf
  chmod 600 secrets/ca-key.pem
  chmod 644 "$new"/*
  mv "$new" secrets/tls
  echo "made secrets/tls"
fi

if [ ! -e .env ]; then
  cp .env.example .env
  echo "made .env"
fi
