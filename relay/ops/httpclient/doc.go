// Package httpclient is HTTP as operators' commands speak it: requests with one bounded
// answer each, why there was none, when to try again, and no secret in what is
// shown. The commands' flags and their meaning are not its affair.
package httpclient
