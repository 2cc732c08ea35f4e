// Package httpclient is the HTTP client of the operators' commands: requests with one bounded
// answer each, the cause where there is none, when to try again, and no secret in any text
// for people. It must not know the commands' flags.
package httpclient
