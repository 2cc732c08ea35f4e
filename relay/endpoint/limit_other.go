//go:build !unix

package endpoint

import "math"

// mostConnections has no limit that a process could ask for.
func mostConnections() int { return math.MaxInt }
