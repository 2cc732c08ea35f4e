// Package faults breaks things under the relay and holds it to its promise: each
// webhook that got 200 is in the stream exactly once, or in the outbox on its way
// there, and there is an answer in time whatever happens. The relay and the
// brokers are the real programs, in processes of their own.
//
// [Suite] is what cmd/relay-faults runs, and counts what is lost. The tests beside
// it look at single faults more closely: at what senders and probes are told.
package faults
