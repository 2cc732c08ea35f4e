// Package interop proves that what the relay publishes can be read by software
// that shares no code with it: the JetStream receiver of the CloudEvents Go SDK,
// and the cloudevents package for JavaScript, in both content modes. It runs the
// real program, and the examples in schema/examples, which can therefore not
// fall behind; and it makes the consumers among them die, fail and come back, as
// schema/DELIVERY.md says that they may.
//
// It also holds the documents of package schema against validators that others
// have written, and against the parser: what one accepts, the other does.
//
// It is a module of its own so that the readers stay out of the relay's go.mod.
// The tests need Node.js 18 or newer, and once
//
//	npm ci --ignore-scripts --prefix ../../../schema/examples/javascript
//	npm ci --ignore-scripts --prefix asyncapi
package interop
