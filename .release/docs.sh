#!/usr/bin/env bash
# Makes the man pages and the completion scripts of this commit, in a folder.
set -euo pipefail
mkdir -p "$1"
to=$(cd "$1" && pwd)
rm -rf "${to:?}"/*
mkdir "$to/man" "$to/completions"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH CGO_ENABLED=0
go test -count=1 -run '^TestManPages$' ./cmd/apixo-relay -man "$to/man"
program=$(mktemp -d)
trap 'rm -r "$program"' EXIT
go build -trimpath -buildvcs=false -o "$program/apixo-relay" ./cmd/apixo-relay
"$program/apixo-relay" completion bash >"$to/completions/apixo-relay.bash"
"$program/apixo-relay" completion zsh >"$to/completions/_apixo-relay"
"$program/apixo-relay" completion fish >"$to/completions/apixo-relay.fish"
"$program/apixo-relay" completion powershell >"$to/completions/apixo-relay.ps1"
for page in "$to"/man/*.1; do
  gzip -n9 <"$page" >"$page.gz"
done
# A script of the packages, which have a page for it.
gzip -n9 <deploy/package/relay-exec.8 >"$to/man/relay-exec.8.gz"
