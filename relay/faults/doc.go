// Package faults holds the relay to its promise while its broker breaks: a 200
// means stored, once, and there is an answer in time whatever happens. The relay
// and the brokers are the real programs, in processes of their own.
package faults
