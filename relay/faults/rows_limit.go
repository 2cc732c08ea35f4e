package faults

// limitRows are faults of what the machine has.
var limitRows = []Row{}
