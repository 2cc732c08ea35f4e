package replay

// Burst is how many deliveries may begin at once.
var Burst = burst
