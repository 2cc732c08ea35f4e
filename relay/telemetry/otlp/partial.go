package otlp

import "google.golang.org/protobuf/encoding/protowire"

// Fields of ExportTraceServiceResponse and ExportTracePartialSuccess
// (opentelemetry/proto/collector/trace/v1/trace_service.proto).
const (
	fieldPartialSuccess = 1
	fieldRejectedSpans  = 1
	fieldErrorMessage   = 2
)

// partial reads what a collector says that took spans: nil, or a *PartialError. What
// cannot be read, JSON for instance, is no word about the spans.
func partial(answer []byte) error {
	var p PartialError
	if !eachField(answer, func(field protowire.Number, _ uint64, value []byte) {
		if field == fieldPartialSuccess {
			eachField(value, func(field protowire.Number, number uint64, value []byte) {
				switch field {
				case fieldRejectedSpans:
					p.Rejected = int64(number)
				case fieldErrorMessage:
					p.Message = string(value)
				}
			})
		}
	}) || p.Rejected == 0 && p.Message == "" {
		return nil
	}
	return &p
}

// eachField visits the fields of a message, and reports whether it is one.
func eachField(message []byte, visit func(field protowire.Number, number uint64, value []byte)) bool {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		var number uint64
		var value []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(field, kind, message)
		}
		if n < 0 {
			return false
		}
		visit(field, number, value)
		message = message[n:]
	}
	return true
}
