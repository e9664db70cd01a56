//! Counters and histograms. Filled in by its own commit.
