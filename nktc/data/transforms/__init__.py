"""What pictures go through on their way into a net, in whole batches on any device: `transform.Pipeline`. All chance
follows from a seed and the counter of a record."""
