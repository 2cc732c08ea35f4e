package faults

// senderRows are faults of what is sent.
var senderRows = []Row{}
