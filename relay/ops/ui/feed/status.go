package feed

import "time"

// Status is what a feed knows of the streams now.
type Status struct {
	Events, Quarantine StreamStatus
	// Archive is the zero value if none is looked at.
	Archive StreamStatus
	// HourCounted says that all of the last hour's messages are in the counts by minute.
	HourCounted bool
}

// StreamStatus is what a feed knows of a stream now.
type StreamStatus struct {
	Name string
	// Known: the broker was asked about it. Exists: it was there then.
	Known, Exists bool
	// First and Last are its first and last sequence, Messages and Bytes how much is in it,
	// as the broker said a few seconds ago. Last may be newer.
	First, Last, Messages, Bytes uint64
	// Created is when it was made, Oldest when its first message was stored.
	Created, Oldest time.Time
	// MaxAge is after how long it deletes messages; 0 means never.
	MaxAge time.Duration
	// IndexedFrom is the sequence from which on all messages are known: below it the
	// stream has to be searched. Indexed is how many are known.
	IndexedFrom uint64
	Indexed     int
	// Filling: older messages are still being read.
	Filling bool
	// Problem says why the stream cannot be read now, and what to do; empty where it can. That
	// there is no quarantine yet, or no archive, is no problem.
	Problem string
}

// Status returns what is known of the streams now.
func (f *Feed) Status() Status {
	f.mu.RLock()
	defer f.mu.RUnlock()
	st := Status{Events: f.events.report(), Quarantine: f.quarantine.report(), HourCounted: f.events.hourCounted && f.quarantine.hourCounted}
	if f.archive != nil {
		st.Archive = f.archive.report()
	}
	return st
}
