"""The statistics of comparison: estimates with intervals, paired tests, power, profiles. Arrays in, numbers out."""
