package faults

// diskRows are faults of the disk.
var diskRows = []Row{}
