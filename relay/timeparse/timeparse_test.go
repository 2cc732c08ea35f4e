package timeparse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/timeparse"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "20s": 20 * time.Second, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond, "-1s": -time.Second, "+1s": time.Second,
		"7d": 7 * day, "1d12h": 36 * time.Hour, "2w": 14 * day, "1w1d1h": 8*day + time.Hour, "1.5d": 36 * time.Hour, "0d": 0, "-1d1h": -25 * time.Hour, "168h": 7 * day,
	} {
		if got, err := timeparse.Duration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "7", "d", "1h1d", "1d1w", "1d-1h", "1d+1h", "7 d", " 7d", "7days", "1dd", "1d1", "999999999d", "1e3d", "soon"} {
		got, err := timeparse.Duration(text)
		if err == nil {
			t.Errorf("%q is %v", text, got)
		} else if !strings.Contains(err.Error(), timeparse.DurationForms) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("east", 2*60*60)
	now := time.Date(2026, 11, 28, 13, 18, 29, 5, zone)
	at := time.Date(2026, 1, 31, 15, 4, 5, 0, zone)
	for text, want := range map[string]time.Time{
		"2026-01-31 15:04:05":             at,
		"2026-01-31T15:04:05":             at,
		"2026-01-31 15:04:05.250":         at.Add(250 * time.Millisecond),
		"2026-01-31T13:04:05Z":            at,
		"2026-01-31T15:04:05+02:00":       at,
		"2026-01-31T13:04:05.000001Z":     at.Add(time.Microsecond),
		"2026-01-31 13:04:05Z":            at,
		"2026-01-31 13:04:05 Z":           at,
		"2026-01-31 15:04:05 +0200":       at,
		"2026-01-31 15:04":                at.Add(-5 * time.Second),
		"2026-01-31":                      time.Date(2026, 1, 31, 0, 0, 0, 0, zone),
		"15:04:05":                        time.Date(2026, 11, 28, 15, 4, 5, 0, zone),
		"15:04":                           time.Date(2026, 11, 28, 15, 4, 0, 0, zone),
		"1769864645000":                   at,
		now.Format(time.RFC3339Nano):      now,
		now.Format(time.DateTime):         now.Truncate(time.Second),
		now.UTC().Format(time.RFC3339):    now.Truncate(time.Second),
		now.Format(time.RFC3339Nano)[:10]: time.Date(2026, 11, 28, 0, 0, 0, 0, zone),
	} {
		if got, err := timeparse.Time(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
		if got, err := timeparse.Instant(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is the moment %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "2026-13-01", "2026-02-30", "2026-01-31T25:00:00Z", "31.01.2026", "1769864645", "24:00"} {
		if got, err := timeparse.Time(text, now); err == nil || !strings.Contains(err.Error(), timeparse.TimeForms) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for text, ago := range map[string]time.Duration{"0s": 0, "90m": 90 * time.Minute, "7d": 168 * time.Hour, "2w": 336 * time.Hour} {
		if got, err := timeparse.Instant(text, now); err != nil || !got.Equal(now.Add(-ago)) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"-1h", "90", "40000d"} {
		if got, err := timeparse.Instant(text, now); err == nil || !strings.Contains(err.Error(), "7d") || !strings.Contains(err.Error(), timeparse.TimeForms) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"": 0, "0": 0, "0/s": 0, "50": 50, "50/s": 50, "0.5/s": 0.5, "1e3": 1000, "5000/m": 5000.0 / 60, "36/h": 0.01} {
		if got, err := timeparse.Rate(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-1", "x", "/s", "50/d", "50/", "50 /s", "NaN", "Inf", "50/s/s", "1e999"} {
		if got, err := timeparse.Rate(text); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}
