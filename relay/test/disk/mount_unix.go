//go:build linux || darwin || freebsd

package disk

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mounted is a disk that programs can use.
type Mounted struct {
	*Disk
	folder string
	server *fuse.Server
}

// Mount makes the disk a folder's contents. Its error is errors.ErrUnsupported
// where there is no FUSE, or where this user may not use it.
func (d *Disk) Mount(folder string) (*Mounted, error) {
	m := &Mounted{Disk: d, folder: folder}
	return m, m.mount()
}

func (m *Mounted) mount() error {
	server, err := m.mountDirectly()
	if err != nil { // for want of rights, which fusermount has
		server, err = m.serve(fuse.MountOptions{})
	}
	if err != nil {
		return fmt.Errorf("%w: a file system of one's own needs FUSE (/dev/fuse, and root or fusermount3): %w", errors.ErrUnsupported, err)
	}
	m.server = server
	return nil
}

// mountDirectly starts no program. The library opens a file of its own in the folder for a
// moment, and lets programs inherit it: one that is started just then would keep the disk in
// use until it ends, so that none is.
func (m *Mounted) mountDirectly() (*fuse.Server, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return m.serve(fuse.MountOptions{DirectMountStrict: true})
}

func (m *Mounted) serve(options fuse.MountOptions) (*fuse.Server, error) {
	never := time.Duration(0) // the kernel asks each time
	options.FsName, options.Name, options.DisableXAttrs, options.MaxWrite = "apixo-relay-faults", "forgets", true, 1<<19
	return fs.Mount(m.folder, &node{disk: m.Disk, inode: m.root}, &fs.Options{
		MountOptions: options,
		EntryTimeout: &never, AttrTimeout: &never, NegativeTimeout: &never,
		RootStableAttr: &fs.StableAttr{Mode: syscall.S_IFDIR, Ino: m.root.number},
	})
}

// PowerLoss makes the disk what it would be after the power had gone: of what was
// not fsynced nothing is left, or, with random numbers, any part. Nobody may have
// a file open.
func (m *Mounted) PowerLoss(random *rand.Rand) (Loss, error) {
	if err := m.Close(); err != nil {
		return Loss{}, err
	}
	return m.losePower(random), m.mount()
}

// Close takes the disk away from its folder. It can be mounted again.
func (m *Mounted) Close() error {
	if m.server == nil {
		return nil
	}
	// The kernel may let go of a process's files some time after its end, which nobody
	// tells. The server itself tries for a third of a second.
	for end := time.Now().Add(2 * time.Minute); ; {
		err := m.server.Unmount()
		if err == nil {
			m.server = nil
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the file system in %s is still in use: %w", m.folder, err)
		}
	}
}

// Discard closes the disk for good, and lets go of what it holds, which is in memory.
func (m *Mounted) Discard() error {
	err := m.Close()
	m.Disk = nil
	return err
}

// node is a file or folder as the kernel sees it.
type node struct {
	fs.Inode
	disk  *Disk
	inode *inode
}

// handle is an open file.
type handle struct {
	disk    *Disk
	inode   *inode
	durable bool // opened with O_SYNC
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
	_ fs.FileReader    = (*handle)(nil)
	_ fs.FileWriter    = (*handle)(nil)
	_ fs.FileFsyncer   = (*handle)(nil)
)

func systemMode(m iofs.FileMode) uint32 {
	if m.IsDir() {
		return syscall.S_IFDIR | uint32(m.Perm())
	}
	return syscall.S_IFREG | uint32(m.Perm())
}

// attributes of an inode. Lock held.
func attributes(n *inode, out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink = n.number, systemMode(n.mode), uint64(len(n.data)), 1
	out.Blocks, out.Blksize = (out.Size+sector-1)/sector, 4096
	out.SetTimes(nil, &n.modified, &n.modified)
}

func (n *node) child(ctx context.Context, i *inode) *fs.Inode {
	return n.NewInode(ctx, &node{disk: n.disk, inode: i}, fs.StableAttr{Mode: systemMode(i.mode) & syscall.S_IFMT, Ino: i.number})
}

// Lookup finds a name.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	found := n.inode.names[name]
	if found != nil {
		attributes(found, &out.Attr)
	}
	n.disk.mu.Unlock()
	if found == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, found), 0
}

// Getattr tells size and times.
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	attributes(n.inode, &out.Attr)
	return 0
}

// Setattr changes the size, the mode, and the time of change.
func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := n.disk.truncate(n.inode, int64(size)); errno != 0 {
			return errno
		}
	}
	if mode, ok := in.GetMode(); ok {
		n.disk.mu.Lock()
		n.inode.mode = n.inode.mode.Type() | iofs.FileMode(mode).Perm()
		n.disk.mu.Unlock()
	}
	if modified, ok := in.GetMTime(); ok {
		n.disk.mu.Lock()
		n.inode.modified = modified
		n.disk.mu.Unlock()
	}
	return n.Getattr(ctx, f, out)
}

// add makes a new file or folder.
func (n *node) add(ctx context.Context, name string, mode iofs.FileMode, out *fuse.EntryOut) (*fs.Inode, *inode, syscall.Errno) {
	n.disk.mu.Lock()
	if errno := n.disk.fails(&n.disk.writes); errno != 0 {
		n.disk.mu.Unlock()
		return nil, nil, errno
	}
	made := n.disk.newInode(mode)
	n.disk.apply(change{{n.inode, name, made}})
	attributes(made, &out.Attr)
	n.disk.mu.Unlock()
	return n.child(ctx, made), made, 0
}

// Mkdir makes a folder.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child, _, errno := n.add(ctx, name, iofs.ModeDir|iofs.FileMode(mode).Perm(), out)
	return child, errno
}

// Create makes a file.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, made, errno := n.add(ctx, name, iofs.FileMode(mode).Perm(), out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return child, n.open(made, flags), fuse.FOPEN_DIRECT_IO, 0
}

func (n *node) open(i *inode, flags uint32) *handle {
	return &handle{n.disk, i, flags&syscall.O_SYNC != 0}
}

// Open opens a file.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return n.open(n.inode, flags), fuse.FOPEN_DIRECT_IO, 0
}

// Unlink takes a file's name away.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.apply(change{{n.inode, name, nil}})
	return 0
}

// Rmdir removes an empty folder.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if folder := n.inode.names[name]; folder != nil && len(folder.names) > 0 {
		return syscall.ENOTEMPTY
	}
	n.disk.apply(change{{n.inode, name, nil}})
	return 0
}

// Rename gives a file another name, whose file it replaces.
func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	folder, ok := to.(*node)
	if !ok || flags != 0 {
		return syscall.ENOTSUP
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if errno := n.disk.fails(&n.disk.writes); errno != 0 {
		return errno
	}
	moved := n.inode.names[name]
	switch replaced := folder.inode.names[newName]; {
	case moved == nil:
		return syscall.ENOENT
	case replaced != nil && len(replaced.names) > 0:
		return syscall.ENOTEMPTY
	}
	n.disk.apply(change{{folder.inode, newName, moved}, {n.inode, name, nil}})
	n.disk.used += int64(len(moved.data)) // it is there still
	return 0
}

// Readdir lists a folder.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	var list []fuse.DirEntry
	for name, i := range n.inode.names {
		list = append(list, fuse.DirEntry{Name: name, Ino: i.number, Mode: systemMode(i.mode) & syscall.S_IFMT})
	}
	return fs.NewListDirStream(list), 0
}

// Fsync keeps a folder's names.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return n.disk.sync(n.inode)
}

// Statfs tells how much room there is.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	const block = 4096
	out.Bsize, out.Frsize, out.NameLen = block, block, 255
	out.Blocks = uint64(n.disk.limit) / block
	out.Bfree = uint64(max(0, n.disk.limit-n.disk.used)) / block
	out.Bavail, out.Files, out.Ffree = out.Bfree, 1<<20, 1<<20
	return 0
}

// Read reads a part of a file.
func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if off >= int64(len(h.inode.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, h.inode.data[off:])]), 0
}

// Write changes a part of a file.
func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := h.disk.write(h.inode, data, off, h.durable); errno != 0 {
		return 0, errno
	}
	return uint32(len(data)), 0
}

// Fsync keeps a file's contents.
func (h *handle) Fsync(context.Context, uint32) syscall.Errno { return h.disk.sync(h.inode) }
