package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// step is how far the clock on the wall has been stepped, in seconds: in the file
// that RIG_CLOCK names, so that whoever writes there steps it at once.
var step = mapStep()

func mapStep() *int64 {
	name, ok := syscall.Getenv("RIG_CLOCK")
	if !ok {
		return new(int64)
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("RIG_CLOCK cannot be opened: " + err.Error())
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("RIG_CLOCK cannot be mapped: " + err.Error())
	}
	_ = syscall.Close(fd) // the mapping stays
	return (*int64)(unsafe.Pointer(&page[0]))
}

// steppedNow takes the place of runtimeNow in Now. What is measured with the
// monotonic clock is not affected, as with a real step.
func steppedNow() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	return sec + atomic.LoadInt64(step), nsec, mono
}
