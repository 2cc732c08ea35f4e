package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// checkArchive wants the program, which knows what it is, and its documents.
func checkArchive(t *testing.T, source string, archive []byte) {
	dir := t.TempDir()
	names := unpack(t, archive, dir)
	for _, name := range []string{
		"apixo-relay", "README.md", "THIRD_PARTY_NOTICES", "man/apixo-relay.1", "man/apixo-relay-serve.1",
		"completions/apixo-relay.bash", "completions/_apixo-relay", "completions/apixo-relay.fish", "completions/apixo-relay.ps1",
	} {
		if !slices.Contains(names, name) {
			t.Errorf("there is no %s in %v", name, names)
		}
	}
	notices, err := os.ReadFile(filepath.Join(dir, "THIRD_PARTY_NOTICES"))
	if err != nil {
		t.Fatal(err)
	}
	for _, title := range []string{"Go and its standard library, LICENSE", "github.com/nats-io/nats-server/v2 v", "github.com/klauspost/compress v", "s2/LICENSE", "github.com/inconshreveable/mousetrap v"} {
		if !bytes.Contains(notices, []byte(title)) {
			t.Errorf("the notices have no %q", title)
		}
	}
	commit := shell(t, source, "git rev-parse HEAD")
	told := strings.Split(shell(t, dir, "RELAY_DATA_DIR="+dir+" ./apixo-relay version"), "\n")
	want := []string{
		fmt.Sprintf("apixo-relay v%s (%s, linux/%s)", version, runtime.Version(), runtime.GOARCH),
		"commit       " + commit + ", " + commitTime,
	}
	if len(told) < 2 || !slices.Equal(told[:2], want) {
		t.Errorf("the program says\n%s\nand not\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if words := shell(t, dir, completeScript); words != "tail" {
		t.Errorf("bash completes 'apixo-relay tai' to %q", words)
	}
}

// completeScript asks the completion as bash does. What it takes from the package
// bash-completion, which is not everywhere, is the words of the line.
const completeScript = `
PATH=$PWD:$PATH
_get_comp_words_by_ref() { cur=tai prev=apixo-relay words=(apixo-relay tai) cword=1; }
source completions/apixo-relay.bash
COMP_TYPE=9 COMP_LINE='apixo-relay tai' COMP_POINT=15
__start_apixo-relay 2>/dev/null || true
echo ${COMPREPLY[*]}`

// unpack unpacks an archive, whose files all have the time of the commit and are root's, and
// returns their names.
func unpack(t *testing.T, archive []byte, dir string) (names []string) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, commitTime)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		mode := int64(0o644)
		if h.Name == "apixo-relay" {
			mode = 0o755
		}
		if h.Typeflag != tar.TypeReg || h.Mode&0o777 != mode || h.Uname != "root" || h.Gname != "root" || h.Uid != 0 || !h.ModTime.Equal(at) {
			t.Errorf("%s: %c %o, %s (%d) %s, %v", h.Name, h.Typeflag, h.Mode, h.Uname, h.Uid, h.Gname, h.ModTime)
		}
		names = append(names, h.Name)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		content, err := io.ReadAll(r)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, content, os.FileMode(mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkSBOM wants the modules in it, with what they are and under which license.
func checkSBOM(t *testing.T, content []byte) {
	type component struct {
		Name, Version string
		Hashes        []struct{ Alg, Content string }
		Evidence      struct {
			Licenses []struct{ License struct{ ID string } }
		}
	}
	var bom struct {
		BOMFormat  string
		Metadata   struct{ Component component }
		Components []component
	}
	if err := json.Unmarshal(content, &bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; bom.BOMFormat != "CycloneDX" || c.Name != "github.com/apixo-relay/apixo-relay" || c.Version != "v"+version {
		t.Errorf("it is a %s of %s %s", bom.BOMFormat, c.Name, c.Version)
	}
	find := func(name string) component {
		i := slices.IndexFunc(bom.Components, func(c component) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("%s is not in it", name)
		}
		return bom.Components[i]
	}
	const natsServer = "github.com/nats-io/nats-server/v2"
	c := find(natsServer)
	if !strings.Contains(file(t, "go.mod"), natsServer+" "+c.Version+"\n") || len(c.Hashes) == 0 ||
		len(c.Evidence.Licenses) == 0 || c.Evidence.Licenses[0].License.ID != "Apache-2.0" {
		t.Errorf("it has %+v", c)
	}
	unknown := 0
	for _, c := range bom.Components {
		if len(c.Evidence.Licenses) == 0 {
			unknown++
		}
	}
	// That of the standard library is in no module; one more may not be recognized.
	if unknown > 2 {
		t.Errorf("%d of %d modules have no license", unknown, len(bom.Components))
	}
	if c := find("std"); "v"+strings.TrimPrefix(runtime.Version(), "go") != "v"+strings.TrimPrefix(c.Version, "go") {
		t.Errorf("it has the standard library of %s", c.Version)
	}
}

// checkCask wants the archive of a release in it, with its checksum.
func checkCask(t *testing.T, cask, name string, archive []byte) {
	for _, want := range []string{
		`version "` + version + `"`,
		`url "https://github.com/apixo-relay/apixo-relay/releases/download/v#{version}/` + strings.ReplaceAll(name, version, "#{version}") + `"`,
		fmt.Sprintf(`sha256 "%x"`, sha256.Sum256(archive)),
		`binary "apixo-relay"`, `manpage "man/apixo-relay.1"`, `manpage "man/apixo-relay-serve.1"`,
		`bash_completion "completions/apixo-relay.bash"`,
	} {
		if !strings.Contains(cask, want) {
			t.Errorf("it has no %s:\n%s", want, cask)
		}
	}
}
