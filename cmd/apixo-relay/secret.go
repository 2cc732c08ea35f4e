package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/ops/secretarg"
	"github.com/apixo-relay/apixo-relay/relay/ops/send"
)

// secretPlaces is what the help texts say of flags that may hold a secret.
const secretPlaces = `Arguments are seen by every process of this machine, and kept by shells. A URL with
a token in it is better given as @FILE or as env:NAME: it is read from the file (from
standard input with @-), or from the variable of the environment, then.`

// shown is an argument as an error may repeat it. A URL can hold a token anywhere.
func shown(arg string) string {
	if scheme, _, ok := strings.Cut(arg, "://"); ok {
		return scheme + "://…"
	}
	return arg
}

// secretURL reads the URL that is given to a flag, or that is in the place which is
// given. Its errors are about usage, and do not repeat it.
func (w cliEnv) secretURL(flag, given string) (*url.URL, error) {
	text, place, err := secretarg.Read(given, w.environ, w.stdin)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	u, err := send.ParseURL(text)
	switch {
	case err != nil && place != "":
		return nil, fmt.Errorf("--%s: what is in %s is %w", flag, place, err)
	case err != nil:
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return u, nil
}

// completeSecret completes the name of a file behind @, and that of a variable
// behind env:.
func (w cliEnv) completeSecret(_ *cobra.Command, _ []string, given string) ([]string, cobra.ShellCompDirective) {
	var found []string
	if given == "" {
		found = []string{secretarg.FilePrefix, secretarg.VariablePrefix}
	} else if file, ok := strings.CutPrefix(given, secretarg.FilePrefix); ok {
		names, _ := filepath.Glob(globEscape.Replace(file) + "*") // an error would be of the pattern
		for _, name := range names {
			found = append(found, secretarg.FilePrefix+name)
		}
	} else if strings.HasPrefix(given, secretarg.VariablePrefix) {
		for _, variable := range w.environ {
			name, _, _ := strings.Cut(variable, "=")
			if name = secretarg.VariablePrefix + name; strings.HasPrefix(name, given) {
				found = append(found, name)
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// globEscape makes a pattern that matches a text itself.
var globEscape = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)
