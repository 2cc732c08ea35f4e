package publisher

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// classify says what the error of a message means that was first sent at a time,
// and whether another try can help.
func (p *Publisher) classify(kind event.Kind, sent time.Time, err error) (reason store.Code, again bool) {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if jserr.IsTransient(api.ErrorCode) {
			return store.BrokerUnavailable, true
		}
		switch api.ErrorCode {
		case jserr.AccountResourcesExceeded, jserr.InsufficientResources, jserr.StorageResourcesExceeded, jserr.MemoryResourcesExceeded, jserr.MaxStreamBytesExceeded:
			return store.StreamFull, false
		case jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return store.TooLarge, false
		case jserr.StreamStoreFailed:
			if isFull(api.Description) {
				return store.StreamFull, false
			}
			return store.BrokerError, false
		default:
			return store.BrokerError, false
		}
	}
	switch {
	case is[*broker.PermissionError](err), is[*StreamConfigError](err):
		return store.BrokerError, false
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		// Nobody takes the subject: the stream is gone, or it has no leader now.
		switch unfit := p.streamError(kind, sent); {
		case unfit == nil:
			return store.BrokerUnavailable, true
		case unfit.Missing:
			return store.StreamMissing, false
		default:
			return store.BrokerError, false
		}
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
		// If not soon, the sender's next call finds a broker, or another relay.
		return store.BrokerUnavailable, p.broker.withinReconnectGrace()
	case errors.Is(err, nats.ErrMaxPayload):
		return store.TooLarge, false
	case errors.Is(err, jetstream.ErrInvalidJSAck), errors.Is(err, errWrongStream), errors.Is(err, errChanged):
		return store.BrokerError, false
	default:
		return store.BrokerUnavailable, true // time-outs above all
	}
}

// isAmbiguous reports whether a try that ended with an error may have stored the
// message all the same: it was sent, and the broker has not said no.
func isAmbiguous(err error) bool {
	refused := is[*notSentError](err) || is[*jetstream.APIError](err) || is[*broker.PermissionError](err) || is[*StreamConfigError](err)
	return !refused && !errors.Is(err, jetstream.ErrNoStreamResponse) && !errors.Is(err, errChanged)
}

// is reports whether an error of a type is in err's tree.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// outOfTime is the refusal when no further try fits.
func outOfTime(reason store.Code, err error) *store.Error {
	return &store.Error{Code: reason, Err: fmt.Errorf("the time for this webhook is used up: %w", err)}
}

// isFull tells a stream at its limit from a write error, which have one code.
// The words are those of nats-server's store (ErrMaxBytes and its kin).
func isFull(description string) bool { return strings.Contains(description, "maximum ") }
