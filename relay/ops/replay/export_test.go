package replay

// Burst is how many deliveries may begin at once.
var Burst = burst

// Listed is what a summary lists of failures with these sequences, in the order in
// which they became known.
func Listed(sequences ...uint64) (list []Undelivered) {
	for _, sequence := range sequences {
		list = listed(list, Position{Sequence: sequence}, "")
	}
	return list
}
