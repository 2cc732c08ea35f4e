package durable

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// disableSync has a server that always fsyncs (sync_always) write the messages of a stream
// without: that is what a commit is for. All else the server goes on fsyncing: blocks that
// it rewrites, before they take the old ones' place, the stream's configuration, the states
// of its consumers, and every other stream.
//
// The server has that mode (2.15.2, filestore.go, updateDurabilitySettingsLocked), puts
// replicated streams into it, and every stream for as long as it commits an atomic batch.
// No option asks for it, so that it is set here as it is there, in fields that are the
// server's own. When the server takes up a changed configuration it ends the mode. Until it
// is set again, and where an error says that it cannot be, each message is fsynced twice.
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
		onFlush.Store(true) // first, so that nothing is ever written in neither mode
		always.Store(false)
	}
	return nil
}

// fieldAt is a field of a struct that can be addressed. It panics if there is none of that type.
func fieldAt[T any](v reflect.Value, name string) *T {
	field := v.FieldByName(name)
	if field.Type() != reflect.TypeFor[T]() {
		panic(fmt.Sprintf("%s.%s is a %s", v.Type(), name, field.Type()))
	}
	return (*T)(unsafe.Pointer(field.UnsafeAddr()))
}
