package rig

import (
	"github.com/apixo-relay/apixo-relay/relay/test/disk"
)

// NewForgetfulDisk makes a file system that loses what was not fsynced when its
// power goes, and returns it with its folder; or errors.ErrUnsupported where that
// cannot be.
func (r *Rig) NewForgetfulDisk(bytes int64) (*disk.Mounted, string, error) {
	folder, err := r.folder("disk")
	if err != nil {
		return nil, "", err
	}
	d, err := disk.New(bytes).Mount(folder)
	if err != nil {
		return nil, "", err
	}
	r.onClose(d)
	return d, folder, nil
}
