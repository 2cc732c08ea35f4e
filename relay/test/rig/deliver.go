package rig

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Deliver posts the webhooks of certain tasks, as many at once as there are
// workers, and returns their answers in the order of the ids. What got none has
// the zero Status.
func (s *Sender) Deliver(ctx context.Context, ids []string, workers int) ([]Answer, Outcome) {
	answers := make([]Answer, len(ids))
	o := Outcome{Problems: make(map[string]int)}
	next := make(chan int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range next {
				a, err := s.Post(ctx, ids[i], "success")
				answers[i] = a
				mu.Lock()
				o.add(ids[i], a, err)
				mu.Unlock()
			}
		})
	}
	for i := range ids {
		next <- i
	}
	close(next)
	all.Wait()
	return answers, o
}

// Schedule is how long APIXO waits after each attempt that got no 200.
var Schedule = []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute}

// Delivery is what became of a webhook and its repeats.
type Delivery struct {
	ID string
	// Attempts are the answers, in their order; the last may be a 200.
	Attempts []Answer
	// Ended is when the last of them was there.
	Ended time.Time
}

// Accepted reports whether the last attempt got 200.
func (d Delivery) Accepted() bool {
	return len(d.Attempts) > 0 && d.Attempts[len(d.Attempts)-1].Status == http.StatusOK
}

// DeliverWithRetries posts a webhook, and again after each of the pauses until it
// gets 200. After the last of them it is given up, as APIXO does. The end of ctx
// is an end too.
func (s *Sender) DeliverWithRetries(ctx context.Context, id string, pauses []time.Duration) Delivery {
	d := Delivery{ID: id}
	for {
		a, err := s.Post(ctx, id, "success")
		if err != nil {
			a.Status = 0
		}
		d.Attempts, d.Ended = append(d.Attempts, a), time.Now()
		if a.Status == http.StatusOK || len(d.Attempts) > len(pauses) {
			return d
		}
		select {
		case <-time.After(pauses[len(d.Attempts)-1]):
		case <-ctx.Done():
			return d
		}
	}
}
