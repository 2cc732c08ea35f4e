#!/usr/bin/env bash
# Prints the licenses and notices of Go and of all modules in the program, on whatever system:
# most of them want to go with it. It fails where a module has none.
set -euo pipefail
export LC_ALL=C CGO_ENABLED=0

cat <<END
apixo-relay is made with Go and with the modules below. These are their licenses and
notices.
END
# show TITLE FILE
show() {
  printf '\n%s\n%s\n\n' "$(printf '=%.0s' {1..80})" "$1"
  cat "$2"
}
goroot=$(go env GOROOT)
show "Go and its standard library, LICENSE" "$goroot/LICENSE"

# Each package, and what is in the folders from it up to its module's.
for os in linux darwin windows; do
  GOOS=$os go list -deps -f '{{with .Module}}{{if not .Main}}{{$.Dir}}{{"\t"}}{{.Dir}}{{"\t"}}{{.Path}} {{.Version}}{{end}}{{end}}' ./cmd/apixo-relay
done | sort -u | while IFS=$'\t' read -r dir root module; do
  while :; do
    for file in "$dir"/*; do
      case ${file##*/} in
      *.go) ;;
      LICENSE* | LICENCE* | COPYING* | NOTICE* | PATENTS*) printf '%s\t%s\t%s\n' "$module" "${file#"$root"/}" "$file" ;;
      esac
    done
    [ "$dir" != "$root" ] || break
    dir=${dir%/*}
  done
  printf '%s\n' "$module"
done | sort -u | {
  module= found=
  # licensed: the module that was read last has had a license.
  licensed() {
    [ "$found" = "$module" ] || { echo "$module has no license: see whether it may be in a release" >&2; exit 1; }
  }
  while IFS=$'\t' read -r next name file; do
    if [ -z "$name" ]; then # the first line of a module
      licensed
      module=$next
    else
      found=$next
      show "$next, $name" "$file"
    fi
  done
  licensed
}
