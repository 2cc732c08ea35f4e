package faults

// clusterRows are faults of three brokers.
var clusterRows = []Row{}
