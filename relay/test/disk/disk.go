// Package disk is a file system in memory that forgets, when the power goes, what
// was not fsynced: data, and the names that files were given.
//
// It is stricter than file systems that are in use. To fsync a file keeps its
// contents and not its name: for that its folder has to be fsynced, as POSIX has
// it, although ext4, XFS and Btrfs keep the name of a new file too. It can also
// fail, as disks do.
package disk

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// sector is what a disk writes as a whole.
const sector = 512

// Disk is the state of a file system: as programs see it, and as it would be after
// a loss of power.
type Disk struct {
	mu   sync.Mutex
	root *inode
	last uint64 // inode number
	// pending are changes of names that have not been fsynced, in their order.
	pending []change
	limit   int64 // bytes of contents that fit
	used    int64

	writes, syncs failure
	failed        int // operations that were made to fail
	synced        int // fsyncs, and writes that were durable at once
	syncTakes     func() time.Duration
	syncing       sync.Mutex // held for as long as an fsync takes
}

// failure is what the next operations of a kind meet: so many of them, or all that
// come if that is negative.
type failure struct {
	errno syscall.Errno
	left  int
}

// inode is a file or a folder. What is durable is what a loss of power leaves.
type inode struct {
	number   uint64
	mode     fs.FileMode // of a folder: with fs.ModeDir
	modified time.Time

	data, durable []byte
	dirty         []extent // of data, since the last fsync

	names, durableNames map[string]*inode // of a folder, else nil
}

// extent is a part of a file, from one byte up to another.
type extent struct{ from, to int64 }

// change is one step by which names become others: two for a rename.
type change []binding

// binding gives a name in a folder to a file, or to nothing.
type binding struct {
	folder *inode
	name   string
	to     *inode
}

// New is an empty disk for so many bytes.
func New(bytes int64) *Disk {
	d := &Disk{limit: bytes}
	d.root = d.newInode(fs.ModeDir | 0o755)
	return d
}

func (d *Disk) newInode(mode fs.FileMode) *inode {
	d.last++
	n := &inode{number: d.last, mode: mode, modified: time.Now()}
	if mode.IsDir() {
		n.names, n.durableNames = make(map[string]*inode), make(map[string]*inode)
	}
	return n
}

// FailWrites makes the next writes fail with an error number such as EIO: so many
// of them, all if that is negative, and none from now on if it is 0.
func (d *Disk) FailWrites(e syscall.Errno, times int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes = failure{e, times}
}

// FailSyncs is FailWrites for fsync. What a failing one was for is not kept.
func (d *Disk) FailSyncs(e syscall.Errno, times int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs = failure{e, times}
}

// SlowSyncs makes each fsync take as long as a function says, one after the other. What is
// written meanwhile is none of its business, as it is none of a real one's.
func (d *Disk) SlowSyncs(takes func() time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncTakes = takes
}

// fails is the error that an operation meets, or 0. Lock held.
func (d *Disk) fails(f *failure) syscall.Errno {
	if f.left == 0 {
		return 0
	}
	f.left--
	d.failed++
	return f.errno
}

// Failed is how many operations were made to fail.
func (d *Disk) Failed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Synced is how often anything was made durable.
func (d *Disk) Synced() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.synced
}

// Loss is what a loss of power took away.
type Loss struct {
	// Names is how many changes of names were undone, Bytes how much of the contents.
	Names, Bytes int
}

// losePower makes the disk what it would be after a loss of power. Of what was
// not fsynced nothing survives, or, with random numbers, as many of the first
// changes of names as they say, and any sectors.
func (d *Disk) losePower(random *rand.Rand) (l Loss) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if random != nil {
		n := random.IntN(len(d.pending) + 1)
		for _, c := range d.pending[:n] {
			c.makeDurable()
		}
		d.pending = d.pending[n:]
	}
	l.Names = len(d.pending)
	d.pending = nil
	d.used = 0
	d.revert(d.root, random, &l, make(map[*inode]bool))
	return l
}

// revert makes a file or folder, and all below it, what is durable of it.
func (d *Disk) revert(n *inode, random *rand.Rand, l *Loss, done map[*inode]bool) {
	if done[n] {
		return
	}
	done[n] = true
	if n.names == nil {
		l.Bytes += n.revert(random)
		d.used += int64(len(n.data))
		return
	}
	n.names = maps.Clone(n.durableNames)
	for _, name := range slices.Sorted(maps.Keys(n.names)) { // so that random numbers come in an order
		d.revert(n.names[name], random, l, done)
	}
}

// revert undoes what was written to a file and not fsynced, and returns how much
// that was.
func (n *inode) revert(random *rand.Rand) (bytes int) {
	for _, e := range n.dirty {
		for at := e.from; at < e.to; {
			end := min(e.to, (at/sector+1)*sector)
			if random != nil && random.IntN(2) == 0 {
				n.durable = grown(n.durable, end)
				copy(n.durable[at:end], n.data[at:end])
			} else {
				bytes += int(end - at)
			}
			at = end
		}
	}
	n.dirty = nil
	n.data = slices.Clone(n.durable)
	return bytes
}

// grown is data of at least that size, with zeros at its end.
func grown(data []byte, size int64) []byte {
	if more := size - int64(len(data)); more > 0 {
		data = append(data, make([]byte, more)...)
	}
	return data
}

func (c change) makeDurable() {
	for _, b := range c {
		if b.to == nil {
			delete(b.folder.durableNames, b.name)
		} else {
			b.folder.durableNames[b.name] = b.to
		}
	}
}

func (c change) in(folder *inode) bool {
	return slices.ContainsFunc(c, func(b binding) bool { return b.folder == folder })
}

// apply changes names as programs see them. Lock held.
func (d *Disk) apply(c change) {
	now := time.Now()
	for _, b := range c {
		if old := b.folder.names[b.name]; old != nil && b.to != old && old.names == nil {
			d.used -= int64(len(old.data)) // as if nobody had it open
		}
		if b.to == nil {
			delete(b.folder.names, b.name)
		} else {
			b.folder.names[b.name] = b.to
		}
		b.folder.modified = now
	}
	d.pending = append(d.pending, c)
}

// sync makes a file's contents, or a folder's names, durable.
func (d *Disk) sync(n *inode) syscall.Errno {
	errno := d.syncNow(n)
	d.mu.Lock()
	takes := d.syncTakes
	d.mu.Unlock()
	if takes != nil {
		d.syncing.Lock()
		defer d.syncing.Unlock()
		time.Sleep(takes())
	}
	return errno
}

func (d *Disk) syncNow(n *inode) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.fails(&d.syncs); errno != 0 {
		return errno
	}
	d.synced++
	if n.names == nil {
		n.sync()
		return 0
	}
	d.pending = slices.DeleteFunc(d.pending, func(c change) bool {
		if !c.in(n) {
			return false
		}
		c.makeDurable()
		return true
	})
	return 0
}

func (n *inode) sync() {
	if len(n.durable) > len(n.data) {
		n.durable = n.durable[:len(n.data)]
	}
	n.durable = grown(n.durable, int64(len(n.data)))
	for _, e := range n.dirty {
		copy(n.durable[e.from:e.to], n.data[e.from:e.to])
	}
	n.dirty = n.dirty[:0]
}

// write changes a file, and keeps what is written at once if it is opened that way.
func (d *Disk) write(n *inode, data []byte, at int64, durable bool) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.fails(&d.writes); errno != 0 {
		return errno
	}
	end := at + int64(len(data))
	if more := end - int64(len(n.data)); more > 0 {
		if d.used+more > d.limit {
			return syscall.ENOSPC
		}
		d.used += more
	}
	from := min(at, int64(len(n.data))) // a gap is zeros that have been written
	n.data = grown(n.data, end)
	copy(n.data[at:], data)
	n.touch(extent{from, end})
	n.modified = time.Now()
	if durable {
		if errno := d.fails(&d.syncs); errno != 0 {
			return errno
		}
		d.synced++
		n.sync()
	}
	return 0
}

// touch notes that a part was written. Most follow the last.
func (n *inode) touch(e extent) {
	if i := len(n.dirty) - 1; i >= 0 && n.dirty[i].to == e.from {
		n.dirty[i].to = e.to
		return
	}
	n.dirty = append(n.dirty, e)
}

// truncate gives a file another size.
func (d *Disk) truncate(n *inode, size int64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errno := d.fails(&d.writes); errno != 0 {
		return errno
	}
	old := int64(len(n.data))
	if size-old > d.limit-d.used {
		return syscall.ENOSPC
	}
	d.used += size - old
	n.modified = time.Now()
	if size >= old {
		n.data = grown(n.data, size)
		n.touch(extent{old, size})
		return 0
	}
	n.data = n.data[:size:size] // what is appended later is not what was there
	n.dirty = slices.DeleteFunc(n.dirty, func(e extent) bool { return e.from >= size })
	for i := range n.dirty {
		n.dirty[i].to = min(n.dirty[i].to, size)
	}
	return 0
}
