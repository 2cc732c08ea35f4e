// Package tail shows the messages of a stream to a person, or to a program.
package tail
