// Package release holds what releases are made from against itself, and makes one twice, of one
// system, as deploy/RELEASING.md says: nothing of it is published.
package release
