//go:build !race

package broker

import _ "unsafe" // for go:linkname

// From the moment at which a program that nats-server is linked into starts, that reads
// /proc/PID/stat every second, to tell the use of CPU at a monitoring endpoint. There is
// none here, and to wake up for that takes more than all else that an idle relay with an
// external broker does. The sampling ends for good when the file cannot be read.
//
// Nothing orders the write before the timer that reads it a second later, which the race
// detector reports, rightly; either length is a whole string, since the bytes stay the same.
//
//go:linkname procStatFile github.com/nats-io/nats-server/v2/server/pse.procStatFile
var procStatFile string

func init() { procStatFile = procStatFile[:0] }
