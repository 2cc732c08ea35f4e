#!/usr/bin/env bash
# Makes what a release has beside its programs: man pages, completion scripts, the licenses of
# what is in the program, and the folder that the image has for its data.
#
#   docs.sh FOLDER [TIME]
#
# FOLDER is emptied. TIME is that of the commit, in seconds since 1970, and without it that of
# the last commit here: the man pages have its month.
set -euo pipefail
SOURCE_DATE_EPOCH=${2:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
rm -rf "$1"
mkdir -p "$1/root/data"
to=$(cd "$1" && pwd)
# By the program's own tests, so that the program need not be able to.
CGO_ENABLED=0 go test -trimpath -vet=off -count=1 -run '^TestReleaseDocs$' ./cmd/apixo-relay -docs "$to"
for page in "$to"/man/*.1; do
  gzip -n9 <"$page" >"$page.gz"
done
# A script of the packages, which have a page for it.
gzip -n9 <deploy/package/relay-exec.8 >"$to/man/relay-exec.8.gz"
bash .release/notices.sh >"$to/THIRD_PARTY_NOTICES"
