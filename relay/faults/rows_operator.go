package faults

// operatorRows are faults of what operators do.
var operatorRows = []Row{}
