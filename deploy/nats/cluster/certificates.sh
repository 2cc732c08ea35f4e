#!/bin/sh
# Makes an authority and one certificate for the three servers, which speak TLS to
# clients and to each other: ./certificates.sh FOLDER NAME...
#
# The names, or IP addresses, are those under which clients and servers reach them. The
# authority is made once: run it again with other names, or before the certificate ends,
# and only the certificate is new. Of what is made
#   ca.pem                     goes to servers and clients (NATS_CA),
#   server.pem server-key.pem  go to the servers, with ca.pem, into /etc/nats/tls, and
#   ca-key.pem                 goes nowhere: who has it can make certificates.
set -eu
umask 077
folder=$1
shift
[ $# -gt 0 ] || { echo "usage: $0 FOLDER NAME..." >&2; exit 2; }
mkdir -p "$folder"
cd "$folder"

key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
if [ ! -e ca-key.pem ]; then
  # shellcheck disable=SC2086 # several words
  openssl req -x509 $key -keyout ca-key.new -out ca.pem -days 3650 -subj '/CN=apixo-relay authority'
  mv ca-key.new ca-key.pem
fi

names=
for name in "$@"; do
  case $name in
    *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) names="$names,IP:$name" ;;
    *) names="$names,DNS:$name" ;;
  esac
done
# clientAuth: a server is the client of another one's route.
printf 'subjectAltName = %s\nextendedKeyUsage = serverAuth, clientAuth\n' "${names#,}" >extensions
# shellcheck disable=SC2086
openssl req $key -keyout server-key.pem -subj '/CN=nats' |
  openssl x509 -req -CA ca.pem -CAkey ca-key.pem -set_serial "0x$(openssl rand -hex 8)" \
    -out server.pem -days 825 -extfile extensions
rm extensions
