//go:build !linux && !darwin

package broker

import "errors"

// Space cannot be told here.
func Space(string) (free, total uint64, err error) { return 0, 0, errors.ErrUnsupported }
