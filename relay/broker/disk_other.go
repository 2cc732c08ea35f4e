//go:build !linux && !darwin && !windows

package broker

import "errors"

// DiskUsage cannot be told here.
func DiskUsage(string) (free, total uint64, err error) { return 0, 0, errors.ErrUnsupported }
