// Package browser proves the operator's page (apixo-relay ui) where it is used: in a
// browser, Debian's Chromium, which shows it while real relays and brokers do what it
// tells of. It looks at each view with scripts and without, presses its buttons, lets
// hostile webhooks and foreign pages try what they can, and holds each view against
// axe-core's rules of accessibility.
//
// It is a module of its own so that what drives the browser stays out of the relay's
// go.mod. The tests need chromium (apt-get install chromium), take half as long with
// chromium-headless-shell beside it, and need once
//
//	npm ci --ignore-scripts
//
// and are skipped where there is no browser, unless CI_TOOLS is set. With BROWSER_PICTURES
// set to a folder they leave a picture of each view there.
package browser
