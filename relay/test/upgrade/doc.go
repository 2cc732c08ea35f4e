// Package upgrade proves that the stores of earlier versions can be opened by this one, and
// those of this one by earlier versions, with nothing lost and nothing stored twice.
//
// Each release leaves an archive in testdata, NAME.tar.gz, which its own program has written
// by [Record]: the store of an embedded broker with events, a quarantine, consumers and, since
// there are such things, announced tasks and archived files; the outbox of a relay whose broker
// is away; and a [Manifest] of what is in them. The tests have today's program open it, then
// an earlier one from the history, then today's again. README.md says how a release adds one.
package upgrade
