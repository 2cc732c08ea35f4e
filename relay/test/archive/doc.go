// Package archive proves 'apixo-relay archive' from outside: the real program, a relay and its
// broker, an S3 server (versitygw), an object store and a disk are processes and files of
// their own, and what the archive downloads comes from an origin that does whatever an origin
// can do.
//
// It is a module of its own so that the S3 server stays out of the relay's go.mod.
package archive
