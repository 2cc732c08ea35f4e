package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/mod/semver"

	"github.com/apixo-relay/apixo-relay/relay/durable"
)

const (
	// storeFormat is the format of the stores that this program writes. It opens those of
	// lower formats, too.
	//
	// It goes up with each change after which an older program would lose something, which
	// storeLoses then names, and storeReadable with each that an older program cannot read at
	// all. Package check and the README's changes say what earlier versions make of it.
	storeFormat = 1
	// storeReadable is the least format that a program has to know to open them.
	storeReadable = 1
	// storeVersionFile is the file in a store's folder that has its [StoreVersion].
	storeVersionFile = "store.json"
)

// storeLoses is what programs of format storeReadable lose when they open a store of this one.
var storeLoses []string

// StoreVersion tells which programs can open a store. Stores of before v1.0.0 have none, and
// those programs do not look for one.
type StoreVersion struct {
	// Format is that in which it was written, and Readable the least one that a program has
	// to know to open it. Both are 1 or more.
	Format   int `json:"format"`
	Readable int `json:"readable"`
	// Loses is what is lost when a program opens it that knows Readable and not Format.
	Loses []string `json:"loses,omitempty"`
	// Program is the version of the relay that has opened it last, Server that of the
	// nats-server in it.
	Program string `json:"program"`
	Server  string `json:"server"`
}

// currentVersion is what this program, the relay's version of that name, notes in a store.
func currentVersion(program string) StoreVersion {
	return StoreVersion{Format: storeFormat, Readable: storeReadable, Loses: storeLoses, Program: program, Server: server.VERSION}
}

// Store is a store in RELAY_DATA_DIR, of the embedded broker or of the outbox.
type Store struct {
	// Dir is its folder.
	Dir string
	// Outbox: it is the outbox's.
	Outbox bool
	// Version is nil for a store of before v1.0.0, and where it cannot be read.
	Version *StoreVersion
	// Err says why this program does not open it, or is nil: a [*NewerStoreError], or that its
	// version cannot be read.
	Err error
}

// Stores returns the stores in a data folder, and changes nothing.
func Stores(dataDir string) (found []Store) {
	for _, s := range []Store{{Dir: dataDir}, {Dir: filepath.Join(dataDir, OutboxFolder), Outbox: true}} {
		s.Version, s.Err = readStoreVersion(s.Dir)
		if s.Version == nil && s.Err == nil {
			if _, err := os.Stat(filepath.Join(s.Dir, server.JetStreamStoreDir)); err != nil {
				continue
			}
		}
		if s.Err == nil {
			s.Err = s.Version.check(s.Dir)
		}
		found = append(found, s)
	}
	return found
}

// NewerStoreError says that a newer program has written a store.
type NewerStoreError struct {
	// Dir is the store's folder.
	Dir   string
	Store StoreVersion
	// Loses is what would be lost, or empty if this program cannot read the store at all.
	Loses []string
}

// Error says what wrote the store, and what to do.
func (e *NewerStoreError) Error() string {
	if len(e.Loses) == 0 {
		return fmt.Sprintf("the store in %s was written by apixo-relay %s in format %d, and this program reads up to format %d; nothing was changed. Run %[2]s or a later version, or set RELAY_DATA_DIR to another folder",
			e.Dir, e.Store.Program, e.Store.Format, storeFormat)
	}
	return fmt.Sprintf("the store in %s was written by apixo-relay %s, and this older program would lose %s; nothing was changed. Run %[2]s or a later version; or, if that may be lost, set RELAY_ALLOW_DOWNGRADE=true for one start",
		e.Dir, e.Store.Program, strings.Join(e.Loses, ", and "))
}

// check returns a [*NewerStoreError] unless this program opens a store of version v without
// losing anything. A nil v is that of a store of before v1.0.0.
func (v *StoreVersion) check(dir string) error {
	switch {
	case v == nil:
		return nil
	case v.Readable > storeFormat:
		return &NewerStoreError{Dir: dir, Store: *v}
	}
	var loses []string
	if v.Format > storeFormat {
		if loses = v.Loses; len(loses) == 0 {
			loses = []string{fmt.Sprintf("what is new in format %d", v.Format)}
		}
	}
	// Patch releases of a server store nothing that the others do not know. A server that
	// meets a stream's configuration which it does not know takes the stream for unsupported:
	// it keeps its files, and serves nothing of it (2.15.2, jetstream.go).
	if compareServers(v.Server, server.VERSION) > 0 {
		loses = append(loses, fmt.Sprintf("what nats-server %s has stored and %s, which is in this program, does not know", v.Server, server.VERSION))
	}
	if len(loses) > 0 {
		return &NewerStoreError{Dir: dir, Store: *v, Loses: loses}
	}
	return nil
}

// compareServers compares two versions of nats-server without their patch levels.
func compareServers(a, b string) int {
	return semver.Compare(semver.MajorMinor("v"+a), semver.MajorMinor("v"+b))
}

// shutsOut reports whether a store of version v keeps programs from opening it that one of
// version former, which is nil before v1.0.0, does not.
func (v *StoreVersion) shutsOut(former *StoreVersion) bool {
	return former == nil || v.Format > former.Format || v.Readable > former.Readable || compareServers(v.Server, former.Server) > 0
}

// ShutsOutFormer reports whether programs that could open the store so far need
// RELAY_ALLOW_DOWNGRADE, or cannot open it at all, once this program has opened it. Stores of
// before v1.0.0 are none of these: the programs of that time do not look.
func (s Store) ShutsOutFormer() bool {
	v := currentVersion("")
	return s.Version != nil && s.Err == nil && v.shutsOut(s.Version)
}

// readStoreVersion returns the version of the store in a folder, or nil if there is none.
func readStoreVersion(dir string) (*StoreVersion, error) {
	path := filepath.Join(dir, storeVersionFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("whether this program can open the store is not known: %w; RELAY_DATA_DIR has to be a folder whose files this user may read", err)
	}
	var v StoreVersion
	if err = json.Unmarshal(text, &v); err == nil {
		err = v.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("whether this program can open the store is not known, since %s cannot be understood: %w; if no newer version has been here, remove that file", path, err)
	}
	return &v, nil
}

// validate returns an error if no program can have written v.
func (v *StoreVersion) validate() error {
	switch {
	case v.Readable < 1 || v.Readable > v.Format:
		return fmt.Errorf("format %d, readable from %d on", v.Format, v.Readable)
	case v.Program == "":
		return errors.New("program is missing")
	case !semver.IsValid("v" + v.Server):
		return fmt.Errorf("server %q is no version", v.Server)
	}
	return nil
}

// checkStore returns an error if the store in a folder is one that this program must not open.
// With allowDowngrade it may lose something, which checkStore returns.
func checkStore(dir string, allowDowngrade bool) (lossy *NewerStoreError, err error) {
	v, err := readStoreVersion(dir)
	if err == nil {
		err = v.check(dir)
	}
	if newer, ok := errors.AsType[*NewerStoreError](err); ok && len(newer.Loses) > 0 && allowDowngrade {
		return newer, nil
	}
	return nil, err
}

// claimStore notes in a store that this program is about to open it: before it does, so that
// after a crash no older program takes the store for its own. The folder is locked. Program is
// the relay's version.
//
// It returns an error only if older programs would not know what they must not open. That the
// note has the name of another version does not matter so much.
func claimStore(dir, program string, log *slog.Logger) error {
	v := currentVersion(program)
	found, err := readStoreVersion(dir)
	if err == nil && found != nil && reflect.DeepEqual(*found, v) {
		return nil
	}
	if err == nil {
		if err = v.write(dir); err == nil {
			return nil
		}
	}
	if v.shutsOut(found) {
		return fmt.Errorf("RELAY_DATA_DIR: that this version opens the store in %s cannot be noted there: %w; make room, or see that this user may write there", dir, err)
	}
	log.Warn("the store goes on naming another version as the one that has opened it last", "store", dir, "error", err)
	return nil
}

// write replaces the version of the store in a folder, so that a crash leaves the one or the
// other. Nobody else writes it meanwhile.
func (v StoreVersion) write(dir string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, storeVersionFile)
	// Always of the same name, so that what crashes leave does not add up. Whoever may look
	// into the folder may read it: it has no secret, and operators' commands show it.
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return durable.SyncFolder(dir)
}
