// Package monitoring has no code: its tests try the alerts, the dashboard and the
// runbook with a real Prometheus that scrapes real relays, to which everything
// happens that the alerts are about.
//
// promtool and prometheus come with Debian's package prometheus.
package monitoring
