// Package secretarg reads arguments that hold a secret from another place than the
// command line, which every process of the machine can read, and which shells and
// supervisors keep. The value of such an argument is a file, as curl writes it, or
// a variable of the environment, as openssl writes it:
//
//	@FILE     what is in the file; @- is standard input
//	env:NAME  the value of the variable
//
// Anything else is the value itself.
package secretarg

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// The beginnings of arguments that name a place.
const (
	FilePrefix     = "@"
	VariablePrefix = "env:"
)

// Stdin is the argument that stands for standard input.
const Stdin = FilePrefix + "-"

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Read returns the value of an argument, without white space around it where it
// comes from a file or a variable, and a phrase that names that place, such as
// "the file callback.url"; the place of an argument that is the value itself is
// empty. The environment is as os.Environ gives it.
//
// A file that is missing, empty or larger than 64 KiB and a variable that is not
// set or empty are errors. They name the place and tell nothing of what is in it.
func Read(arg string, environ []string, stdin io.Reader) (value, place string, err error) {
	if file, ok := strings.CutPrefix(arg, FilePrefix); ok {
		switch {
		case file == "-":
			value, err = config.ReadSecret(stdin, "standard input")
			return value, "standard input", err
		case file == "":
			return "", "", errors.New("the name of a file is missing behind @")
		case strings.Contains(file, "://"): // with a secret in it, perhaps
			return "", "", errors.New("the name of a file is expected behind @, and a URL stands there")
		}
		value, err = config.ReadSecretFile(file)
		return value, "the file " + file, err
	}
	name, ok := strings.CutPrefix(arg, VariablePrefix)
	if !ok {
		return arg, "", nil
	}
	if !variableName.MatchString(name) { // but a secret, perhaps
		return "", "", errors.New("the name of a variable is expected behind env:, which is letters, digits and _")
	}
	for _, variable := range environ {
		if v, found := strings.CutPrefix(variable, name+"="); found {
			value = strings.TrimSpace(v)
		}
	}
	if value == "" {
		return "", "", fmt.Errorf("the variable %q is not set, or empty: set it, and export it from your shell", name)
	}
	return value, "the variable " + name, nil
}
