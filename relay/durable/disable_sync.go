package durable

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// disableSync makes a server that always fsyncs (sync_always) write the messages of one
// stream without an fsync, which a commit does later. The server goes on fsyncing the blocks
// that it rewrites, before they replace the old ones, the stream's configuration, the states
// of its consumers, and every other stream.
//
// The server has that mode (2.15.2, filestore.go, updateDurabilitySettingsLocked). It puts
// replicated streams into it, and every stream while it commits an atomic batch. No option
// selects it, so disableSync sets the server's private fields as the server does. When the
// server takes up a changed configuration it ends the mode. Until the mode is set again, and
// where an error says that it cannot be, each message is fsynced twice.
func disableSync(s *server.Server, name string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("nats-server %s cannot be kept from fsyncing each message: %v", server.VERSION, p)
		}
	}()
	account := reflect.ValueOf(s.GlobalAccount()).Elem().FieldByName("js").Elem()
	accountMutex := fieldAt[sync.RWMutex](account, "mu")
	accountMutex.RLock()
	stream := account.FieldByName("streams").MapIndex(reflect.ValueOf(name))
	accountMutex.RUnlock()
	if !stream.IsValid() {
		return nil // it was deleted
	}
	streamMutex := fieldAt[sync.RWMutex](stream.Elem(), "mu")
	streamMutex.RLock()
	store := stream.Elem().FieldByName("store")
	streamMutex.RUnlock()
	if store.IsNil() {
		return nil // it is being made, or deleted
	}
	files := store.Elem().Elem()
	storeMutex := fieldAt[sync.RWMutex](files, "mu")
	storeMutex.Lock()
	defer storeMutex.Unlock()
	always, onFlush := fieldAt[atomic.Bool](files, "syncAlways"), fieldAt[atomic.Bool](files, "syncOnFlush")
	if always.Load() {
		onFlush.Store(true) // first: every write is in one of the two modes
		always.Store(false)
	}
	return nil
}

// fieldAt returns the address of a field of an addressable struct. It panics if there is none
// of that type.
func fieldAt[T any](v reflect.Value, name string) *T {
	field := v.FieldByName(name)
	if field.Type() != reflect.TypeFor[T]() {
		panic(fmt.Sprintf("%s.%s is a %s", v.Type(), name, field.Type()))
	}
	return (*T)(unsafe.Pointer(field.UnsafeAddr()))
}
