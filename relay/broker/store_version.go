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
	// [StoreVersion.Loses] then names, and Readable with each that an older program cannot
	// read at all. Package check and the README's changes say what earlier versions make of it.
	storeFormat = 1
	// storeReadable is the least format that a program has to know to open them.
	storeReadable = 1
	// storeVersionFile is the file in a store's folder that has its [StoreVersion].
	storeVersionFile = "store.json"
)

// StoreVersion tells which programs can open a store. Stores of before v1.0.0 have none.
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

// Store is a store in RELAY_DATA_DIR, of the embedded broker or of the outbox.
type Store struct {
	// Dir is its folder.
	Dir string
	// Version is nil for a store of before v1.0.0.
	Version *StoreVersion
	// Err says why this program does not open it, or is nil: a [*NewerStoreError], or that its
	// version cannot be read.
	Err error
}

// Stores returns the stores in a data folder, and changes nothing.
func Stores(dataDir string) (found []Store) {
	for _, dir := range []string{dataDir, filepath.Join(dataDir, OutboxFolder)} {
		s := Store{Dir: dir}
		s.Version, s.Err = readStoreVersion(dir)
		if s.Version == nil && s.Err == nil {
			if _, err := os.Stat(filepath.Join(dir, server.JetStreamStoreDir)); err != nil {
				continue
			}
		}
		if s.Err == nil {
			s.Err = s.Version.check(dir)
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

// check returns an error unless this program opens a store of version v without losing
// anything. A nil v is that of a store of before v1.0.0.
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
	if newer := semver.MajorMinor("v" + v.Server); semver.Compare(newer, semver.MajorMinor("v"+server.VERSION)) > 0 {
		loses = append(loses, fmt.Sprintf("what nats-server %s has stored and %s, which is in this program, does not know", v.Server, server.VERSION))
	}
	if len(loses) > 0 {
		return &NewerStoreError{Dir: dir, Store: *v, Loses: loses}
	}
	return nil
}

// readStoreVersion returns the version of the store in a folder, or nil if there is none.
func readStoreVersion(dir string) (*StoreVersion, error) {
	path := filepath.Join(dir, storeVersionFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("whether this program can open the store is not known: %w", err)
	}
	var v StoreVersion
	if err = json.Unmarshal(text, &v); err == nil && (v.Format < 1 || v.Readable < 1 || v.Readable > v.Format) {
		err = fmt.Errorf("format %d, readable from %d on", v.Format, v.Readable)
	}
	if err != nil {
		return nil, fmt.Errorf("whether this program can open the store is not known, since %s cannot be read: %w; if no newer version has been here, remove that file", path, err)
	}
	return &v, nil
}

// checkStore returns an error if the store in a folder is one that this program must not open.
// With allowDowngrade it may lose something; the log says what.
func checkStore(dir string, allowDowngrade bool, log *slog.Logger) error {
	v, err := readStoreVersion(dir)
	if err == nil {
		err = v.check(dir)
	}
	if newer, ok := errors.AsType[*NewerStoreError](err); ok && len(newer.Loses) > 0 && allowDowngrade {
		log.Warn("a newer version has written the store; what this one does not know is lost, as RELAY_ALLOW_DOWNGRADE has it", "store", dir, "version", newer.Store.Program, "lost", strings.Join(newer.Loses, ", and "))
		return nil
	}
	return err
}

// claimStore notes in a store that this program has opened it. Program is the relay's version.
func claimStore(dir, program string) error {
	v := StoreVersion{Format: storeFormat, Readable: storeReadable, Program: program, Server: server.VERSION}
	if found, err := readStoreVersion(dir); err == nil && found != nil && reflect.DeepEqual(*found, v) {
		return nil
	}
	return v.write(dir)
}

// write replaces the version of the store in a folder, so that a crash leaves the one or the
// other.
func (v StoreVersion) write(dir string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, storeVersionFile+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, storeVersionFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return durable.SyncFolder(dir)
}
