// Package timeparse reads times, durations and rates as people write them, and as this
// program prints them: one grammar for flags and for environment variables.
//
// It must not know flags or variables.
package timeparse

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// DurationForms and TimeForms are examples of what is read, for errors and help.
const (
	DurationForms = "20s, 1h30m, 500ms, 7d or 1d12h"
	TimeForms     = "2026-01-31T15:04:05Z, '2026-01-31 15:04:05', 2026-01-31 or 15:04"
)

const day = 24 * time.Hour

// dayUnits are the weeks and days that Go's durations do not have, in front of those.
var dayUnits = regexp.MustCompile(`^([+-]?)(?:(\d+(?:\.\d+)?)w)?(?:(\d+(?:\.\d+)?)d)?(.*)$`)

// Duration reads a duration as time.ParseDuration does, with weeks (w, of seven days)
// and days (d, of 24 hours) in front: 7d, 1d12h, 2w. Its error does not repeat the text.
func Duration(text string) (time.Duration, error) {
	parts := dayUnits.FindStringSubmatch(text)
	if parts == nil || parts[2] == "" && parts[3] == "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, errDuration
		}
		return d, nil
	}
	sum := 0.0
	for i, unit := range []time.Duration{7 * day, day} {
		if number := parts[2+i]; number != "" {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return 0, errDuration
			}
			sum += n * float64(unit)
		}
	}
	var rest time.Duration
	if parts[4] != "" {
		var err error
		if strings.ContainsAny(parts[4][:1], "+-") {
			return 0, errDuration
		}
		if rest, err = time.ParseDuration(parts[4]); err != nil {
			return 0, errDuration
		}
	}
	if sum+float64(rest) >= math.MaxInt64 {
		return 0, errDuration
	}
	d := time.Duration(sum) + rest
	if parts[1] == "-" {
		d = -d
	}
	return d, nil
}

var errDuration = fmt.Errorf("is not a duration: write it like %s", DurationForms)

// zoned are the layouts that name their zone, local those that do not. Go's parser
// takes a fraction of the second in all of them that have one.
var (
	zoned = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04:05 -0700"}
	local = []string{time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly}
	hours = []string{time.TimeOnly, "15:04"}
)

// Time reads a time: in RFC 3339, or without a zone in the location of now, in which a
// date alone is its beginning and a time of day alone is that of the day of now. A
// number of 13 digits is Unix milliseconds, as APIXO writes times. Its error does not
// repeat the text.
func Time(text string, now time.Time) (time.Time, error) {
	for _, layout := range zoned {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	for _, layout := range local {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	for _, layout := range hours {
		if at, err := time.Parse(layout, text); err == nil {
			year, month, today := now.Date()
			return time.Date(year, month, today, at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), now.Location()), nil
		}
	}
	if ms, err := strconv.ParseUint(text, 10, 63); err == nil && len(text) == 13 {
		return time.UnixMilli(int64(ms)).In(now.Location()), nil
	}
	return time.Time{}, fmt.Errorf("is not a time: write it like %s", TimeForms)
}

// Instant reads a time, or how long before now one was: 90m, 24h, 7d. That is no longer
// than 100 years. Its error does not repeat the text.
func Instant(text string, now time.Time) (time.Time, error) {
	if ago, err := Duration(text); err == nil && ago >= 0 && ago <= 36525*day {
		return now.Add(-ago), nil
	}
	at, err := Time(text, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("is neither how long ago, such as 90m, 24h or 7d, nor a time such as %s", TimeForms)
	}
	return at, nil
}

// rateUnits are the times of a rate, in seconds.
var rateUnits = map[string]float64{"s": 1, "m": 60, "h": 3600}

// Rate reads how many things there are in a second: "50", "50/s", "0.5/s", "5000/m",
// "10/h". The empty string and "0" give 0. Its error does not repeat the text.
func Rate(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, unit, ok := strings.Cut(text, "/")
	if !ok {
		unit = "s"
	}
	rate, err := strconv.ParseFloat(number, 64)
	if seconds := rateUnits[unit]; err == nil && seconds > 0 && rate >= 0 && !math.IsInf(rate, 0) {
		return rate / seconds, nil
	}
	return 0, errRate
}

var errRate = errors.New("is not a rate: write a number in a second or a minute, such as 50/s or 5000/m")
