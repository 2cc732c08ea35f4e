package faults

// storeRows are faults of what is stored already.
var storeRows = []Row{}
