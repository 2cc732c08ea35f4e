package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// scraper reads the metrics of a relay.
type scraper struct {
	url    string
	client http.Client
}

func newScraper(p *process) *scraper {
	return &scraper{p.ready["admin"] + "/metrics", http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: answerTimeout}}
}

func (s *scraper) close() { s.client.CloseIdleConnections() }

// heap is the memory in use on Go's heap, in MiB, with the garbage that was not
// collected yet, and how many collections there were.
func (s *scraper) heap(ctx context.Context) (heap number, collections int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return notMeasured, 0, err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return notMeasured, 0, err
	}
	defer answer.Body.Close()
	heap = notMeasured
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
		case name == "go_memstats_heap_alloc_bytes":
			heap = number(value / (1 << 20))
		case name == "go_gc_duration_seconds_count":
			collections = int(value)
		}
	}
	if !heap.known() {
		return heap, 0, fmt.Errorf("%s is without them", s.url)
	}
	return heap, collections, nil
}
